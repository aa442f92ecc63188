-- One schema per layer, called as the folders of the dbt project are; `governance` holds what guards
-- them. Managed access: who owns a table cannot give it away, only the owner of the schema can.
{% for schema, what in schemas.items() %}

create schema if not exists {{ retail }}.{{ schema }}
    comment = '{{ what }}';
alter schema {{ retail }}.{{ schema }} enable managed access;
{% endfor %}
