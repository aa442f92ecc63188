{{ config(severity='error', meta={'dagster': {'ref': {'name': 'rpt_abandoned_carts'}}}) }}

-- Fails: checkouts were begun in a currency with no rate in the six days up to that day. The whole
-- day of that country is missing from fct_checkouts and its report until the rate arrives.
-- One row per country, day and currency that blocks.
--
-- On the report, for the reason that assert_no_sales_day_without_fx_rate gives.
-- depends_on: {{ ref('rpt_abandoned_carts') }}

with

checkouts as (

    select * from {{ ref('int_online_checkouts') }}
    where {{ in_slices('country', 'business_date') }}

),

fx_rates as (

    select * from {{ ref('int_fx_rates') }}
    where {{ in_slices(none, 'business_date') }}

)

select
    checkouts.country,
    checkouts.business_date,
    checkouts.currency_code,
    count(*) as checkouts
from checkouts
left join fx_rates
    on fx_rates.business_date = checkouts.business_date
    and fx_rates.currency_code = checkouts.currency_code
where fx_rates.eur_rate is null
    and coalesce(checkouts.currency_code, '') <> 'EUR'
group by
    checkouts.country,
    checkouts.business_date,
    checkouts.currency_code
