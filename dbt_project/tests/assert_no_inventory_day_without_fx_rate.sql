{{ config(severity='error', meta={'dagster': {'ref': {'name': 'rpt_reorder_alerts'}}}) }}

-- Fails: stock moved in a currency with no rate in the six days up to that day. The whole day of
-- that country is missing from fct_inventory_movements, from fct_inventory_daily and from the
-- reports of stock until the rate arrives; pieces on other days are right without it.
-- One row per country, day and currency that blocks.
--
-- On the report, for the reason that assert_no_sales_day_without_fx_rate gives.
-- depends_on: {{ ref('rpt_reorder_alerts') }}

{{ currencies_without_rate(ref('int_inventory_movements')) }}
