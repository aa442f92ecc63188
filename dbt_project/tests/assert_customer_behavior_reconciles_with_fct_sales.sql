{{ config(severity='error', meta={'dagster': {'ref': {'name': 'fct_customer_behavior'}}}) }}

-- Fails: customers and sales of customers disagree about a country and day, in euros, in pieces or
-- in who was there.

with

sales_lines as (

    select
        country,
        business_date,
        cast(count(distinct customer_id) as bigint) as customers,
        {{ total('net_amount_eur') }} as net_sales_eur,
        {{ total_count('signed_quantity') }} as units
    from {{ ref('fct_sales') }}
    where {{ in_slices('country', 'business_date') }}
        and customer_id is not null
    group by country, business_date

),

customer_days as (

    select
        country,
        business_date,
        cast(count(*) as bigint) as customers,
        {{ total('net_sales_eur') }} as net_sales_eur,
        {{ total_count('units_sold - units_returned') }} as units
    from {{ ref('fct_customer_behavior') }}
    where {{ in_slices('country', 'business_date') }}
    group by country, business_date

)

select
    coalesce(sales_lines.country, customer_days.country) as country,
    coalesce(sales_lines.business_date, customer_days.business_date) as business_date,
    sales_lines.customers as fact_customers,
    customer_days.customers as behavior_customers,
    sales_lines.net_sales_eur as fact_net_sales_eur,
    customer_days.net_sales_eur as behavior_net_sales_eur,
    sales_lines.units as fact_units,
    customer_days.units as behavior_units
from sales_lines
full outer join customer_days
    on customer_days.country = sales_lines.country
    and customer_days.business_date = sales_lines.business_date
where sales_lines.country is null
    or customer_days.country is null
    or sales_lines.customers <> customer_days.customers
    or sales_lines.net_sales_eur <> customer_days.net_sales_eur
    or sales_lines.units <> customer_days.units
