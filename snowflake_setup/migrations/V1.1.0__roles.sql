-- People and programs get functional roles; privileges lie with access roles; nothing else is granted.
--
--   user -> functional role (of the account) -> access role (of the database) -> schema
--
-- Roles of countries follow the country registry and stand in R__20_analysts.sql.

-- Access roles: _r reads a layer, _w also writes it.
{% for schema in layers %}
create database role if not exists {{ retail }}.{{ schema }}_r
    comment = 'Reads {{ schema }}.';
create database role if not exists {{ retail }}.{{ schema }}_w
    comment = 'Reads and writes {{ schema }}.';
grant database role {{ retail }}.{{ schema }}_r to database role {{ retail }}.{{ schema }}_w;
{% endfor %}

-- Whoever holds it sees the rows of all countries; the row access policy asks for it.
create role if not exists {{ retail }}_all_countries
    comment = 'Sees rows of all countries.';

create role if not exists {{ retail }}_loader
    comment = 'Loads RAW and owns its tables.';
create role if not exists {{ retail }}_transformer
    comment = 'Builds the models and owns their tables; reads RAW.';
create role if not exists {{ retail }}_platform
    comment = 'The orchestrator: loads and builds.';
create role if not exists {{ retail }}_analyst
    comment = 'Reads marts of all countries, without personal data.';
create role if not exists {{ retail }}_data_science
    comment = 'Reads marts and models of all countries, with tokens.';
create role if not exists {{ retail }}_marketing_ops
    comment = 'Reads marts and models of all countries, with tokens to ask re-identification by.';
create role if not exists {{ retail }}_pii_admin
    comment = 'Reads encrypted personal data; opening it takes the key as well.';

-- The tree: everything ends at SYSADMIN.
grant role {{ retail }}_loader to role {{ retail }}_platform;
grant role {{ retail }}_transformer to role {{ retail }}_platform;
grant role {{ retail }}_all_countries to role {{ retail }}_transformer;
grant role {{ retail }}_all_countries to role {{ retail }}_data_science;
grant role {{ retail }}_all_countries to role {{ retail }}_marketing_ops;
{% for role in ('platform', 'analyst', 'data_science', 'marketing_ops', 'pii_admin') %}
grant role {{ retail }}_{{ role }} to role sysadmin;
{% endfor %}

-- Migrations add columns to tables that these two own.
grant role {{ retail }}_loader to role {{ retail }}_setup;
grant role {{ retail }}_transformer to role {{ retail }}_setup;
