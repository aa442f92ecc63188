{{ config(tags=['cost']) }}

-- A warehouse sleeps when nothing has run on it for as long as it takes to suspend. So a statement
-- of a run that begins later than that after all earlier ones of the run were done wakes it.

with

statements as (

    select * from {{ ref('cost_statements') }}
    where run_id is not null

),

awake as (

    select
        statement_id,
        max(ended_at) over (
            partition by environment, run_id, warehouse_name
            order by started_at asc nulls last, statement_id asc nulls last
            rows between unbounded preceding and 1 preceding
        ) as awake_since
    from statements
    where needs_warehouse

),

woken as (

    select
        statements.*,
        statements.needs_warehouse and (
            awake.awake_since is null
            or datediff(millisecond, awake.awake_since, statements.started_at)
            > 1000 * {{ var('cost_auto_suspend_seconds') }}
        ) as wakes
    from statements
    left outer join awake on awake.statement_id = statements.statement_id

)

select
    cast(environment as varchar) as environment,
    cast(run_id as varchar) as run_id,
    cast(warehouse_name as varchar) as warehouse_name,
    cast(min(started_at) as timestamp_ntz) as started_at,
    cast(max(ended_at) as timestamp_ntz) as ended_at,
    cast(count(*) as bigint) as statements,
    cast(count_if(needs_warehouse) as bigint) as statements_with_compute,
    cast(sum(case when needs_warehouse then execution_seconds else 0 end) as decimal(18, 3))
        as warehouse_seconds,
    cast(count_if(wakes) as bigint) as wakes,
    cast(sum(credits) as double) as credits
from woken
group by environment, run_id, warehouse_name
