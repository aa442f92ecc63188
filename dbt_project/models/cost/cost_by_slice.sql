{{ config(tags=['cost']) }}

-- A statement for several countries and days counts for each of them with an even share, so the sum
-- over everything is the sum of the statements.

with

statements as (

    select
        *,
        -- Who names no days, or says all of them with the calendar's ends, worked for no day.
        case
            when datediff(day, first_day, last_day) between 0 and {{ longest_span_in_days() }} - 1
                then datediff(day, first_day, last_day) + 1
        end as day_count,
        split(coalesce(countries, ''), ',') as country_list
    from {{ ref('cost_statements') }}
    where credits > 0

),

shares as (

    select
        statements.used_on,
        statements.environment,
        statements.role_name,
        statements.warehouse_name,
        statements.asset,
        nullif(cast(country.value as varchar), '') as country,
        case
            when statements.day_count is not null
                then dateadd(day, cast(slice.value as integer), statements.first_day)
        end as slice_day,
        statements.credits
        / (array_size(statements.country_list) * coalesce(statements.day_count, 1)) as credits
    from statements,
        lateral flatten(input => statements.country_list) as country,
        lateral flatten(
            input => array_generate_range(0, coalesce(statements.day_count, 1))
        ) as slice

)

select
    cast(used_on as date) as used_on,
    cast(environment as varchar) as environment,
    cast(role_name as varchar) as role_name,
    cast(warehouse_name as varchar) as warehouse_name,
    cast(asset as varchar) as asset,
    cast(country as varchar) as country,
    cast(slice_day as date) as slice_day,
    cast(sum(credits) as double) as credits
from shares
group by used_on, environment, role_name, warehouse_name, asset, country, slice_day
