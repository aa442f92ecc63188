{{ config(tags=['business_day', 'country']) }}

-- A month is looked at on its last day, when it is complete. Each closing day adds one cell to
-- every cohort, so the triangle is the union of all partitions and every cell is stored once.

with

customers as (

    select * from {{ ref('fct_customers_monthly') }}
    where {{ in_slices('country', 'business_date') }}
        and first_purchase_date is not null

),

cohorts as (

    select
        country,
        business_date,
        {{ first_day_of_month('first_purchase_date') }} as cohort_month,
        cast(count(first_purchase_date) as bigint) as cohort_customers,
        cast(count(case when purchase_days_of_month > 0 then 1 end) as bigint)
            as active_customers,
        {{ total('first_month_net_sales_eur') }} as first_month_net_sales_eur,
        {{ total('net_sales_of_month_eur') }} as net_sales_eur
    from customers
    group by country, business_date, {{ first_day_of_month('first_purchase_date') }}

)

select
    country,
    business_date,
    cohort_month,
    cast({{ dbt.datediff('cohort_month', 'business_date', 'month') }} as integer)
        as months_since_first,
    cohort_customers,
    active_customers,
    {{ share_of('active_customers', 'cohort_customers') }} as retention_rate,
    first_month_net_sales_eur,
    net_sales_eur,
    {{ rate_of('net_sales_eur', 'first_month_net_sales_eur') }} as revenue_retention_rate
from cohorts
{{ in_slice_order() }}
