{{ config(severity='error', meta={'dagster': {'ref': {'name': 'rpt_daily_sales'}}}) }}

-- Fails: a country sold in a currency with no rate in the six days up to that day. The whole day of
-- that country is missing from fct_sales and from the reports until the rate arrives.
-- One row per country, day and currency that blocks.
--
-- It hangs on a report that nothing reads, because dbt skips what comes after the nodes of a failed
-- test: one blocked day must not keep all other days from being published.
-- depends_on: {{ ref('rpt_daily_sales') }}

{{ currencies_without_rate(ref('int_sales')) }}
