{#- What a statement is for, in the query history of Snowflake: dbt calls this before it builds a
    model and before a data test. The profile says the environment and the run. A test is for the
    model it belongs to; one that belongs to none names no asset. -#}
{% macro snowflake__set_query_tag() -%}
    {%- set tag = fromjson(target.query_tag) -%}
    {%- set slices = run_slices() -%}
    {%- set built = model if model.resource_type == 'model'
        else graph.nodes.get(model.attached_node) -%}
    {%- do tag.update({
        'asset': built.schema ~ '/' ~ built.alias if built else '',
        'countries': slices.countries | join(','),
        'first_day': slices.first_day,
        'last_day': slices.last_day,
    }) -%}
    {%- do run_query("alter session set query_tag = '" ~ tojson(tag) ~ "'") -%}
{%- endmacro %}
