{#- One row per entry of a JSON object of counts: the columns asked for, reason, reason_count.
    Engines share no syntax for JSON, so this is the one place with two. -#}
{% macro json_counts(relation, columns, json_column) %}
    {{ return(adapter.dispatch('json_counts')(relation, columns, json_column)) }}
{% endmacro %}

{% macro duckdb__json_counts(relation, columns, json_column) %}
select
    {{ prefixed('source_rows', columns) }},
    entries.key as reason,
    cast(entries.value as bigint) as reason_count
from {{ relation }} as source_rows,
    json_each(source_rows.{{ json_column }}) as entries
{% endmacro %}

{% macro snowflake__json_counts(relation, columns, json_column) %}
select
    {{ prefixed('source_rows', columns) }},
    cast(entries.key as varchar) as reason,
    cast(entries.value as bigint) as reason_count
from {{ relation }} as source_rows,
    lateral flatten(input => parse_json(source_rows.{{ json_column }})) as entries
{% endmacro %}

{#- One row per element of a JSON array of objects: the columns asked for, position (from 1) and the
    fields asked for, as text.

    fields  name in the result -> path of keys in the object, e.g. 'line_item.price' -#}
{% macro json_objects(relation, columns, json_column, fields) %}
    {{ return(adapter.dispatch('json_objects')(relation, columns, json_column, fields)) }}
{% endmacro %}

{% macro duckdb__json_objects(relation, columns, json_column, fields) %}
select
    {{ prefixed('entries', columns) }},
    cast(entries.position as integer) as position
    {%- for name, path in fields.items() %},
    json_extract_string(entries.element, '$.{{ path }}') as {{ name }}
    {%- endfor %}
from (
    select
        {{ prefixed('arrays', columns) }},
        unnest(arrays.elements) as element,
        generate_subscripts(arrays.elements, 1) as position
    from (
        select
            {{ prefixed('source_rows', columns) }},
            json_extract(source_rows.{{ json_column }}, '$[*]') as elements
        from {{ relation }} as source_rows
    ) as arrays
) as entries
{% endmacro %}

{% macro snowflake__json_objects(relation, columns, json_column, fields) %}
select
    {{ prefixed('source_rows', columns) }},
    cast(entries.index as integer) + 1 as position
    {%- for name, path in fields.items() %},
    cast(get_path(entries.value, '{{ path }}') as varchar) as {{ name }}
    {%- endfor %}
from {{ relation }} as source_rows,
    lateral flatten(input => parse_json(source_rows.{{ json_column }})) as entries
{% endmacro %}
