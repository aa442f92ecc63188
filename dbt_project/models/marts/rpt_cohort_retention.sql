{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {'fct_customer_behavior': {'days_before': 'all'}}},
) }}

-- A month is looked at on its last day, when it is complete. Each closing day adds one cell to
-- every cohort, so the triangle is the union of all partitions and every cell is stored once.

with

closing_days as (

    {{ closing_days(ref('fct_customer_behavior'), 'month') }}

),

-- most runs close no month, and are spared all the days before
customer_days as (

    select * from {{ ref('fct_customer_behavior') }}
    where {{ in_window('fct_customer_behavior', 'country', 'business_date') }}
        and country in (select closing_days.country from closing_days)

),

customer_months as (

    select
        country,
        customer_id,
        {{ first_day_of_month('business_date') }} as activity_month,
        max(sale_invoices) > 0 as has_purchase,
        {{ total('net_sales_eur') }} as net_sales_eur
    from customer_days
    group by country, customer_id, {{ first_day_of_month('business_date') }}

),

first_purchases as (

    select
        country,
        customer_id,
        min(activity_month) as cohort_month
    from customer_months
    where has_purchase
    group by country, customer_id

),

cohort_months as (

    select
        customer_months.country,
        first_purchases.cohort_month,
        customer_months.activity_month,
        cast(count(case when customer_months.has_purchase then 1 end) as bigint)
            as active_customers,
        {{ total('customer_months.net_sales_eur') }} as net_sales_eur
    from customer_months
    inner join first_purchases
        on first_purchases.country = customer_months.country
        and first_purchases.customer_id = customer_months.customer_id
    group by
        customer_months.country,
        first_purchases.cohort_month,
        customer_months.activity_month

),

cohorts as (

    select
        country,
        cohort_month,
        active_customers as cohort_customers,
        net_sales_eur as first_month_net_sales_eur
    from cohort_months
    where activity_month = cohort_month

),

closed_months as (

    select
        closing_days.*,
        {{ first_day_of_month('business_date') }} as activity_month
    from closing_days

),

cells as (

    select
        closed_months.country,
        closed_months.business_date,
        cohorts.cohort_month,
        cast(
            {{ dbt.datediff('cohorts.cohort_month', 'closed_months.activity_month', 'month') }}
            as integer
        ) as months_since_first,
        cohorts.cohort_customers,
        coalesce(cohort_months.active_customers, 0) as active_customers,
        cohorts.first_month_net_sales_eur,
        cast(coalesce(cohort_months.net_sales_eur, 0) as decimal(18, 2)) as net_sales_eur
    from closed_months
    inner join cohorts
        on cohorts.country = closed_months.country
        and cohorts.cohort_month <= closed_months.activity_month
    left join cohort_months
        on cohort_months.country = cohorts.country
        and cohort_months.cohort_month = cohorts.cohort_month
        and cohort_months.activity_month = closed_months.activity_month

)

select
    country,
    business_date,
    cohort_month,
    months_since_first,
    cohort_customers,
    active_customers,
    {{ share_of('active_customers', 'cohort_customers') }} as retention_rate,
    first_month_net_sales_eur,
    net_sales_eur,
    {{ rate_of('net_sales_eur', 'first_month_net_sales_eur') }} as revenue_retention_rate
from cells
{{ in_slice_order() }}
