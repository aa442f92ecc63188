{{ config(tags=['cost']) }}

-- Thresholds are said in the description; who changes one changes both.

with

days as (

    select * from {{ ref('cost_warehouse_days') }}
    where used_on >= dateadd(day, -14, current_date())

),

warehouses as (

    select
        warehouse_name,
        max_by(warehouse_size, used_on) as warehouse_size,
        min(used_on) as first_day,
        max(used_on) as last_day,
        sum(credits_metered) as credits_metered,
        sum(credits_idle) as credits_idle,
        sum(statements) as statements,
        sum(statements_spilled) as statements_spilled,
        sum(statements_spilled_remote) as statements_spilled_remote,
        sum(statements_short) as statements_short,
        sum(execution_seconds) as execution_seconds,
        sum(queued_seconds) as queued_seconds
    from days
    group by warehouse_name

),

rates as (

    select
        *,
        credits_idle / nullif(credits_metered, 0) as idle_rate,
        statements_spilled / nullif(statements, 0) as spilled_rate,
        statements_spilled_remote / nullif(statements, 0) as spilled_remote_rate,
        statements_short / nullif(statements, 0) as short_rate,
        queued_seconds / nullif(execution_seconds, 0) as queued_rate
    from warehouses

)

select
    cast(warehouse_name as varchar) as warehouse_name,
    cast(warehouse_size as varchar) as warehouse_size,
    cast(first_day as date) as first_day,
    cast(last_day as date) as last_day,
    cast(credits_metered as double) as credits_metered,
    cast(credits_idle as double) as credits_idle,
    cast(statements as bigint) as statements,
    cast(idle_rate as double) as idle_rate,
    cast(spilled_rate as double) as spilled_rate,
    cast(queued_rate as double) as queued_rate,
    cast(short_rate as double) as short_rate,
    cast(
        case
            when statements < 20 then 'too few statements'
            when spilled_remote_rate >= 0.01 or spilled_rate >= 0.1 then 'larger'
            when queued_rate >= 0.05 then 'more clusters'
            when short_rate >= 0.95 and warehouse_size <> 'X-Small' then 'smaller'
            when idle_rate >= 0.5 then 'fewer wakes'
            else 'keep'
        end as varchar
    ) as advice
from rates
