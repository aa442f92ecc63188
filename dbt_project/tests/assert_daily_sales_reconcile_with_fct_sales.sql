{{ config(severity='error', meta={'dagster': {'ref': {'name': 'rpt_daily_sales'}}}) }}

-- Fails: the report and the fact disagree about a country and day, in euros or in pieces.

with

sales_lines as (

    select
        country,
        business_date,
        {{ total('net_amount_eur') }} as net_sales_eur,
        cast(sum(cast(signed_quantity as bigint)) as bigint) as units
    from {{ ref('fct_sales') }}
    where {{ in_slices('country', 'business_date') }}
    group by country, business_date

),

daily_sales as (

    select
        country,
        business_date,
        {{ total('net_sales_eur') }} as net_sales_eur,
        cast(sum(cast(units_sold - units_returned as bigint)) as bigint) as units
    from {{ ref('rpt_daily_sales') }}
    where {{ in_slices('country', 'business_date') }}
    group by country, business_date

)

select
    coalesce(sales_lines.country, daily_sales.country) as country,
    coalesce(sales_lines.business_date, daily_sales.business_date) as business_date,
    sales_lines.net_sales_eur as fact_net_sales_eur,
    daily_sales.net_sales_eur as reported_net_sales_eur,
    sales_lines.units as fact_units,
    daily_sales.units as reported_units
from sales_lines
full outer join daily_sales
    on daily_sales.country = sales_lines.country
    and daily_sales.business_date = sales_lines.business_date
where sales_lines.country is null
    or daily_sales.country is null
    or sales_lines.net_sales_eur <> daily_sales.net_sales_eur
    or sales_lines.units <> daily_sales.units
