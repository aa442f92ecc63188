{{ config(tags=['cost']) }}

-- What one statement was for and what it took. The tag counts as ours if it is JSON that names an
-- environment; anything else is somebody else's, and what it took is shown without an asset.

with

query_history as (

    select
        query_history.*,
        try_parse_json(query_history.query_tag) as tag
    from {{ source('account_usage', 'query_history') }} as query_history
    where query_history.start_time >= {{ first_day_of_costs() }}

),

attributed as (

    -- Short statements have no row. Two for one would double what else is said of it.
    select
        query_id,
        sum(credits_attributed_compute) as credits
    from {{ source('account_usage', 'query_attribution_history') }}
    where start_time >= {{ first_day_of_costs() }}
    group by query_id

),

tagged as (

    select
        query_history.*,
        cast(get_path(query_history.tag, 'environment') as varchar) as environment,
        nullif(cast(get_path(query_history.tag, 'run') as varchar), '') as run_id,
        nullif(cast(get_path(query_history.tag, 'asset') as varchar), '') as asset,
        nullif(cast(get_path(query_history.tag, 'countries') as varchar), '') as countries,
        try_cast(cast(get_path(query_history.tag, 'first_day') as varchar) as date) as first_day,
        try_cast(cast(get_path(query_history.tag, 'last_day') as varchar) as date) as last_day
    from query_history

)

select
    cast(tagged.query_id as varchar) as statement_id,
    cast(convert_timezone('UTC', tagged.start_time) as date) as used_on,
    cast(convert_timezone('UTC', tagged.start_time) as timestamp_ntz) as started_at,
    cast(convert_timezone('UTC', tagged.end_time) as timestamp_ntz) as ended_at,
    cast(tagged.environment as varchar) as environment,
    cast(tagged.run_id as varchar) as run_id,
    cast(tagged.asset as varchar) as asset,
    cast(tagged.countries as varchar) as countries,
    cast(tagged.first_day as date) as first_day,
    cast(tagged.last_day as date) as last_day,
    cast(tagged.role_name as varchar) as role_name,
    cast(tagged.warehouse_name as varchar) as warehouse_name,
    cast(tagged.warehouse_size as varchar) as warehouse_size,
    cast(tagged.warehouse_size is not null as boolean) as needs_warehouse,
    cast(tagged.execution_time / 1000.0 as decimal(18, 3)) as execution_seconds,
    cast(tagged.queued_overload_time / 1000.0 as decimal(18, 3)) as queued_seconds,
    cast(tagged.bytes_spilled_to_local_storage as bigint) as spilled_local_bytes,
    cast(tagged.bytes_spilled_to_remote_storage as bigint) as spilled_remote_bytes,
    cast(coalesce(attributed.credits, 0) as double) as credits
from tagged
left outer join attributed on attributed.query_id = tagged.query_id
