{{ config(severity='error', meta={'dagster': {'ref': {'name': 'rpt_abandoned_carts'}}}) }}

-- Fails: checkouts were begun in a currency with no rate in the six days up to that day. The whole
-- day of that country is missing from fct_checkouts and its report until the rate arrives.
-- One row per country, day and currency that blocks.
--
-- On the report, for the reason that assert_no_sales_day_without_fx_rate gives.
-- depends_on: {{ ref('rpt_abandoned_carts') }}

{{ currencies_without_rate(ref('int_online_checkouts')) }}
