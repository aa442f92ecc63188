{#- What a statement is for, in the query history of Snowflake: dbt calls this before it builds a
    model. The profile says the environment and the run; tests have that much only. -#}
{% macro snowflake__set_query_tag() -%}
    {%- set tag = fromjson(target.query_tag) -%}
    {%- set slices = run_slices() -%}
    {%- do tag.update({
        'asset': model.schema ~ '/' ~ model.alias,
        'countries': slices.countries | join(','),
        'first_day': slices.first_day,
        'last_day': slices.last_day,
    }) -%}
    {%- do run_query("alter session set query_tag = '" ~ tojson(tag) ~ "'") -%}
{%- endmacro %}
