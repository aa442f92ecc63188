{{ config(severity='error', meta={'dagster': {'ref': {'name': 'rpt_daily_sales'}}}) }}

-- Fails: the report and the order lines disagree about the net sales of a country, day and
-- currency. A day that is blocked for a missing rate is in neither total; that such a day is
-- missing is for assert_no_sales_day_without_fx_rate to say.

with

order_lines as (

    select * from {{ ref('int_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

fx_rates as (

    select * from {{ ref('int_fx_rates') }}
    where {{ in_slices(none, 'business_date') }}

),

daily_sales as (

    select * from {{ ref('rpt_daily_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

blocked_days as (

    select distinct order_lines.country, order_lines.business_date
    from order_lines
    left join fx_rates
        on fx_rates.business_date = order_lines.business_date
        and fx_rates.currency_code = order_lines.currency_code
    where fx_rates.eur_rate is null
        and coalesce(order_lines.currency_code, '') <> 'EUR'

),

expected as (

    select
        country,
        business_date,
        currency_code,
        {{ total('net_amount_local') }} as net_sales_local
    from order_lines
    where not exists (
        select 1
        from blocked_days
        where blocked_days.country = order_lines.country
            and blocked_days.business_date = order_lines.business_date
    )
    group by country, business_date, currency_code

),

reported as (

    select
        country,
        business_date,
        currency_code,
        {{ total('net_sales_local') }} as net_sales_local
    from daily_sales
    group by country, business_date, currency_code

)

select
    coalesce(expected.country, reported.country) as country,
    coalesce(expected.business_date, reported.business_date) as business_date,
    coalesce(expected.currency_code, reported.currency_code) as currency_code,
    expected.net_sales_local as expected_net_sales_local,
    reported.net_sales_local as reported_net_sales_local
from expected
full outer join reported
    on reported.country = expected.country
    and reported.business_date = expected.business_date
    and reported.currency_code = expected.currency_code
where expected.net_sales_local is null
    or reported.net_sales_local is null
    or expected.net_sales_local <> reported.net_sales_local
