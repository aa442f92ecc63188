{#- The schema is the layer, plainly: the same name as the folder, the Dagster group and the asset
    key prefix. Environments differ by database, not by schema. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
