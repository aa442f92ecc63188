{{ config(severity='error', meta={'dagster': {'ref': {'name': 'rpt_daily_sales'}}}) }}

-- Fails: a country sold in a currency with no rate in the six days up to that day. The whole day of
-- that country is missing from fct_sales and from the reports until the rate arrives.
-- One row per country, day and currency that blocks.
--
-- It hangs on a report that nothing reads, because dbt skips what comes after the nodes of a failed
-- test: one blocked day must not keep all other days from being published.
-- depends_on: {{ ref('rpt_daily_sales') }}

with

order_lines as (

    select * from {{ ref('int_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

fx_rates as (

    select * from {{ ref('int_fx_rates') }}
    where {{ in_slices(none, 'business_date') }}

)

select
    order_lines.country,
    order_lines.business_date,
    order_lines.currency_code,
    count(*) as order_lines
from order_lines
left join fx_rates
    on fx_rates.business_date = order_lines.business_date
    and fx_rates.currency_code = order_lines.currency_code
where fx_rates.eur_rate is null
    and coalesce(order_lines.currency_code, '') <> 'EUR'
group by
    order_lines.country,
    order_lines.business_date,
    order_lines.currency_code
