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
