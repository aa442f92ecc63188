-- dbt creates the tables of models, and replaces them on a full refresh; policies go with the old
-- table. The guard puts them onto what lacks them. Nobody reads a mart before it was there: SELECT on
-- marts is granted by the guard alone, behind the policy. A table without a country stays closed.

create or replace procedure {{ retail }}.governance.guard_marts()
    returns varchar
    language sql
    execute as caller
as
$$
declare
    guarded integer default 0;
    unguarded cursor for
        select t.table_name
        from {{ retail }}.information_schema.tables as t
        inner join {{ retail }}.information_schema.columns as c
            on t.table_schema = c.table_schema and t.table_name = c.table_name
        where t.table_schema = 'MARTS'
            and t.table_type = 'BASE TABLE'
            and c.column_name = 'COUNTRY'
            and t.table_name not in (
                select ref_entity_name
                from table({{ retail }}.information_schema.policy_references(
                    policy_name => '{{ retail }}.governance.rows_of_country'))
            );
    protected cursor for
        select c.table_schema, c.table_name, c.column_name
        from {{ retail }}.information_schema.columns as c
        inner join {{ retail }}.information_schema.tables as t
            on t.table_schema = c.table_schema and t.table_name = c.table_name
        where t.table_schema in ('STAGING', 'INTERMEDIATE', 'MARTS', 'SEMANTICS')
            and t.table_type = 'BASE TABLE'
            and c.column_name in (
{% for name in token_columns %}
                '{{ name | upper }}'{{ ',' if not loop.last }}
{% endfor %}
            );
begin
    for column_ in protected do
        execute immediate 'alter table {{ retail }}.' || column_.table_schema || '.' || column_.table_name
            || ' modify column ' || column_.column_name
            || ' set tag {{ retail }}.governance.pii_token = ''' || lower(column_.column_name) || '''';
    end for;
    for mart in unguarded do
        execute immediate 'alter table {{ retail }}.marts.' || mart.table_name
            || ' add row access policy {{ retail }}.governance.rows_of_country on (country)';
        execute immediate 'grant select on table {{ retail }}.marts.' || mart.table_name
            || ' to database role {{ retail }}.marts_r';
        guarded := guarded + 1;
    end for;
    return guarded || ' marts guarded';
end;
$$;

create or replace task {{ retail }}.governance.guard_marts
    warehouse = {{ retail }}_transform
    schedule = '60 minutes'
{% if env.failures %}
    error_integration = {{ retail }}_failures
{% endif %}
    comment = 'Puts policies onto tables that dbt made since.'
as
    call {{ retail }}.governance.guard_marts();
alter task {{ retail }}.governance.guard_marts resume;
