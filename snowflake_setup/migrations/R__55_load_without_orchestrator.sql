{% if env.load_without_orchestrator %}
-- Loads RAW by itself, for accounts that want no orchestrator: an object in the lake is announced by
-- its bucket, a pipe copies it into `landing`, a task moves it into RAW. The newest delivery of a file
-- replaces what an earlier one brought. Not both: with this on, the orchestrator must not load.
--
-- There is no ledger and no late-day record here, and a file that was withdrawn stays.

create schema if not exists {{ retail }}.landing
    comment = 'Rows as objects brought them, before RAW.';
alter schema {{ retail }}.landing enable managed access;
grant usage on database {{ retail }} to role {{ retail }}_loader;
grant usage, create table, create pipe, create stream, create task
    on schema {{ retail }}.landing to role {{ retail }}_loader;
grant execute task on account to role {{ retail }}_loader;

use role {{ retail }}_loader;
{% for table in raw_tables if table.incoming %}

create table if not exists {{ retail }}.landing.{{ table.name }} (
{% for name, type in table.incoming.items() %}
    {{ name }} {{ type }},
{% endfor %}
    _delivered_at timestamp_ntz,
    _object varchar
)
comment = 'Arrivals of {{ table.name }}.';
{% for name, type in table.incoming.items() %}
alter table {{ retail }}.landing.{{ table.name }} add column if not exists {{ name }} {{ type }};
{% endfor %}

create stream if not exists {{ retail }}.landing.{{ table.name }}_arrivals
    on table {{ retail }}.landing.{{ table.name }}
    append_only = true;

create or replace pipe {{ retail }}.landing.{{ table.name }}
    auto_ingest = true
{% if env.failures %}
    error_integration = {{ retail }}_failures
{% endif %}
    comment = 'Objects of {{ table.name }} as they arrive.'
as
    copy into {{ retail }}.landing.{{ table.name }}
        ({{ table.incoming | join(', ') }}, _delivered_at, _object)
    from (
        select
{% for name, type in table.incoming.items() %}
            $1:{{ name }}::{{ type }},
{% endfor %}
            metadata$file_last_modified,
            metadata$filename
        from @{{ retail }}.raw.lake/data/{{ table.name }}/
    )
    file_format = (format_name = '{{ retail }}.raw.lake_parquet');
-- What came while there was no pipe, or an older one; the same object again changes nothing in RAW.
alter pipe {{ retail }}.landing.{{ table.name }} refresh;

create or replace task {{ retail }}.landing.{{ table.name }}_into_raw
    warehouse = {{ retail }}_load
    schedule = '5 minutes'
{% if env.failures %}
    error_integration = {{ retail }}_failures
{% endif %}
    comment = 'Moves arrivals of {{ table.name }} into RAW.'
    when system$stream_has_data('{{ retail }}.landing.{{ table.name }}_arrivals')
as
    execute immediate $$
    begin
        begin transaction;
        delete from {{ retail }}.raw.{{ table.name }}
        using {{ retail }}.landing.{{ table.name }}_arrivals as arrived
        where {{ table.name }}._country = arrived._country
            and {{ table.name }}._batch_date = arrived._batch_date
            and {{ table.name }}._source_file = arrived._source_file
            and {{ table.name }}._delivered_at <= arrived._delivered_at;
        insert into {{ retail }}.raw.{{ table.name }}
            ({{ table.incoming | join(', ') }}, _delivered_at, _loaded_at, _run_id)
        select
            {{ table.incoming | join(', ') }}, _delivered_at, sysdate(), 'snowpipe'
        from {{ retail }}.landing.{{ table.name }}_arrivals as arrived
        where not exists (
            select 1 from {{ retail }}.raw.{{ table.name }} as loaded
            where loaded._country = arrived._country
                and loaded._batch_date = arrived._batch_date
                and loaded._source_file = arrived._source_file
        )
        qualify dense_rank() over (
            partition by _country, _batch_date, _source_file
            order by _delivered_at desc, _object desc
        ) = 1;
        commit;
    exception
        when other then
            rollback;
            raise;
    end
    $$;
alter task {{ retail }}.landing.{{ table.name }}_into_raw resume;
{% endfor %}

use role {{ retail }}_setup;
{% endif %}
