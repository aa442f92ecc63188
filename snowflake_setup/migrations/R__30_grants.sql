-- Privileges of access roles, then access roles of functional roles.
alter database {{ retail }} set data_retention_time_in_days = {{ env.data_retention_days }};

-- Layers. Tables that are there and tables that will be.
{% for schema in layers %}

grant usage on database {{ retail }} to database role {{ retail }}.{{ schema }}_r;
grant usage on schema {{ retail }}.{{ schema }} to database role {{ retail }}.{{ schema }}_r;
{% if schema == 'marts' %}
-- SELECT on marts: R__80_marts_guard.sql, when a table has its row access policy and not before.
{% else %}
grant select
    on all tables in schema {{ retail }}.{{ schema }}
    to database role {{ retail }}.{{ schema }}_r;
grant select
    on future tables in schema {{ retail }}.{{ schema }}
    to database role {{ retail }}.{{ schema }}_r;
{% endif %}
grant create table, create view on schema {{ retail }}.{{ schema }}
    to database role {{ retail }}.{{ schema }}_w;
grant select, insert, update, delete, truncate
    on all tables in schema {{ retail }}.{{ schema }}
    to database role {{ retail }}.{{ schema }}_w;
grant select, insert, update, delete, truncate
    on future tables in schema {{ retail }}.{{ schema }}
    to database role {{ retail }}.{{ schema }}_w;
{% endfor %}

-- Whoever creates a table, these two own it: loads alter RAW, dbt replaces what it built.
{% for schema in layers %}
grant ownership on future tables in schema {{ retail }}.{{ schema }}
    to role {{ retail }}_{{ 'loader' if schema == 'raw' else 'transformer' }};
{% endfor %}

-- Functional roles.
{% for role, access in access_of.items() %}
{% for database_role in access %}
grant database role {{ retail }}.{{ database_role }} to role {{ retail }}_{{ role }};
{% endfor %}
{% endfor %}

-- Compute by workload.
{% for role, warehouse in warehouse_of.items() %}
grant usage on warehouse {{ retail }}_{{ warehouse }} to role {{ retail }}_{{ role }};
{% endfor %}
