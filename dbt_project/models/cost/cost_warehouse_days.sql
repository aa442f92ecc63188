{{ config(tags=['cost']) }}

with

metered as (

    select
        warehouse_name,
        cast(convert_timezone('UTC', start_time) as date) as used_on,
        sum(credits_used_compute) as credits_metered,
        sum(credits_used_cloud_services) as credits_cloud_services
    from {{ source('account_usage', 'warehouse_metering_history') }}
    where start_time >= {{ first_day_of_costs() }}
        and warehouse_id > 0  -- 0 stands for cloud services without a warehouse
    group by warehouse_name, used_on

),

used as (

    select
        warehouse_name,
        used_on,
        max_by(warehouse_size, started_at) as warehouse_size,
        count(*) as statements,
        count_if(spilled_local_bytes > 0) as statements_spilled,
        count_if(spilled_remote_bytes > 0) as statements_spilled_remote,
        count_if(execution_seconds < 5) as statements_short,
        sum(execution_seconds) as execution_seconds,
        sum(queued_seconds) as queued_seconds,
        sum(credits) as credits_attributed
    from {{ ref('cost_statements') }}
    where needs_warehouse
    group by warehouse_name, used_on

)

select
    cast(metered.warehouse_name as varchar) as warehouse_name,
    cast(metered.used_on as date) as used_on,
    cast(used.warehouse_size as varchar) as warehouse_size,
    cast(metered.credits_metered as double) as credits_metered,
    cast(metered.credits_cloud_services as double) as credits_cloud_services,
    cast(coalesce(used.credits_attributed, 0) as double) as credits_attributed,
    cast(metered.credits_metered - coalesce(used.credits_attributed, 0) as double) as credits_idle,
    cast(coalesce(used.statements, 0) as bigint) as statements,
    cast(coalesce(used.statements_spilled, 0) as bigint) as statements_spilled,
    cast(coalesce(used.statements_spilled_remote, 0) as bigint) as statements_spilled_remote,
    cast(coalesce(used.statements_short, 0) as bigint) as statements_short,
    cast(coalesce(used.execution_seconds, 0) as decimal(18, 3)) as execution_seconds,
    cast(coalesce(used.queued_seconds, 0) as decimal(18, 3)) as queued_seconds
from metered
left outer join used
    on used.warehouse_name = metered.warehouse_name
        and used.used_on = metered.used_on
