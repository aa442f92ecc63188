{#- Incremental strategy: the slices of the run are replaced whole, in one transaction. Rows that a
    correction no longer delivers disappear, which merge and delete+insert by key cannot do.

    Transaction: dbt-duckdb opens one around the statement of a materialization and commits it at
    the end; dbt-snowflake runs in autocommit, so there it has to be spelt out. -#}
{% macro get_incremental_replace_slices_sql(arg_dict) %}
    {% do return(in_one_transaction(
        delete_slices_sql(arg_dict['target_relation'])
        ~ ';\n' ~ insert_in_slice_order_sql(arg_dict)
    )) %}
{% endmacro %}

{#- Incremental strategy for dimensions with history: every version of a touched key is replaced.
    Touched are the keys that the slices deliver now (they are in the new rows) and the keys that
    had a version starting in those slices (a correction may have removed that row), or on a later
    day where a model says that it changes those. -#}
{% macro get_incremental_replace_keys_sql(arg_dict) %}
    {% set target_relation = arg_dict['target_relation'] %}
    {% set key = arg_dict['unique_key'] | join(', ') %}
    {% set delete_sql %}
delete from {{ target_relation }}
{% if is_sliced() %}
where ({{ key }}) in (
    select {{ key }} from {{ arg_dict['temp_relation'] }}
    union
    select {{ key }} from {{ target_relation }}
    where {{ in_changed_days('country', slice_day_column()) }}
)
{% endif %}
    {% endset %}
    {% do return(in_one_transaction(delete_sql ~ ';\n' ~ insert_in_slice_order_sql(arg_dict))) %}
{% endmacro %}

{% macro delete_slices_sql(relation) %}
delete from {{ relation }}
where {{ in_slices('country', slice_day_column()) }}
{% endmacro %}

{#- Late files bring increments out of order; inside an increment rows keep the slice order. -#}
{% macro insert_in_slice_order_sql(arg_dict) %}
{%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
insert into {{ arg_dict['target_relation'] }} ({{ columns }})
select {{ columns }}
from {{ arg_dict['temp_relation'] }}
order by {{ slice_day_column() }} asc nulls last, country asc nulls last
{% endmacro %}

{% macro in_one_transaction(statements) %}
    {% do return(adapter.dispatch('in_one_transaction')(statements)) %}
{% endmacro %}

{% macro default__in_one_transaction(statements) %}
    {% do return(statements) %}
{% endmacro %}

{% macro snowflake__in_one_transaction(statements) %}
    {% do return(snowflake_dml_explicit_transaction(statements)) %}
{% endmacro %}
