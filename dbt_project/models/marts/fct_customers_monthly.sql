{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'fct_customer_behavior': {'days_before': 'all'},
        'fct_customers_monthly': {'days_before': 'all'},
    }},
) }}

-- Carries itself on: what a customer did until a month end is what he did until the one before, and
-- in the month. Who changes what a column means rebuilds all days.

with

closing_days as (

    {{ closing_days(ref('fct_customer_behavior'), 'month') }}

),

{% if is_incremental() -%}

carried as (

    {{ carried_rows('fct_customers_monthly') }}

),

{% endif -%}

customer_days as (

    {{ rows_since_carried('fct_customer_behavior', 'carried' if is_incremental()) }}

),

purchases as (

    select
        country,
        {{ last_day_of('month', 'business_date') }} as business_date,
        customer_id,
        case when sale_invoices > 0 then business_date end as purchase_date,
        case
            when sale_invoices > 0 then cast(gross_sales_eur - discounts_eur as decimal(18, 2))
        end as purchase_eur,
        net_sales_eur
    from customer_days
    -- most runs close no month, and are spared the rest
    where country in (select closing_days.country from closing_days)

),

customer_months as (

    select
        country,
        business_date,
        customer_id,
        min(purchase_date) as first_purchase_date,
        max(purchase_date) as last_purchase_date,
        cast(count(purchase_date) as bigint) as purchase_days,
        {{ total('purchase_eur') }} as purchases_eur,
        min_by(purchase_eur, purchase_date) as first_purchase_eur,
        {{ total('net_sales_eur') }} as net_sales_eur
    from purchases
    group by country, business_date, customer_id

),

customers_until as (

    select
        customer_months.*,
        net_sales_eur as first_month_net_sales_eur
    from customer_months
    {%- if is_incremental() %}

    union all

    select
        country,
        business_date,
        customer_id,
        first_purchase_date,
        last_purchase_date,
        purchase_days,
        purchases_eur,
        first_purchase_eur,
        net_sales_eur,
        first_month_net_sales_eur
    from carried
    {%- endif %}

),

customers as (

    select
        closing_days.country,
        closing_days.business_date,
        customers_until.customer_id,
        min(customers_until.first_purchase_date) as first_purchase_date,
        max(customers_until.last_purchase_date) as last_purchase_date,
        {{ total_count('customers_until.purchase_days') }} as purchase_days,
        {{ total('customers_until.purchases_eur') }} as purchases_eur,
        min_by(customers_until.first_purchase_eur, customers_until.first_purchase_date)
            as first_purchase_eur,
        {{ total('customers_until.net_sales_eur') }} as net_sales_eur,
        min_by(customers_until.first_month_net_sales_eur, customers_until.first_purchase_date)
            as first_month_net_sales_eur,
        {{ total_count(
            'case when customers_until.business_date = closing_days.business_date'
            ~ ' then customers_until.purchase_days end'
        ) }} as purchase_days_of_month,
        {{ total(
            'case when customers_until.business_date = closing_days.business_date'
            ~ ' then customers_until.net_sales_eur end'
        ) }} as net_sales_of_month_eur
    from closing_days
    inner join customers_until
        on customers_until.country = closing_days.country
        and customers_until.business_date <= closing_days.business_date
    group by closing_days.country, closing_days.business_date, customers_until.customer_id

)

select
    country,
    business_date,
    customer_id,
    first_purchase_date,
    last_purchase_date,
    purchase_days,
    purchases_eur,
    first_purchase_eur,
    net_sales_eur,
    first_month_net_sales_eur,
    purchase_days_of_month,
    net_sales_of_month_eur
from customers
{{ in_slice_order() }}
