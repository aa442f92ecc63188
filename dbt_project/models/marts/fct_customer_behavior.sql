{{ config(tags=['business_day', 'country']) }}

with

sales_lines as (

    select * from {{ ref('fct_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

totals as (

    select
        country,
        business_date,
        customer_id,
        cast(count(distinct case when transaction_type = 'Sale' then invoice_id end) as bigint)
            as sale_invoices,
        cast(count(distinct case when transaction_type = 'Return' then invoice_id end) as bigint)
            as return_invoices,
        {{ total_count("case when transaction_type = 'Sale' then quantity end") }} as units_sold,
        {{ total_count("case when transaction_type = 'Return' then quantity end") }}
            as units_returned,
        {{ total("case when transaction_type = 'Sale' then gross_amount_eur end") }}
            as gross_sales_eur,
        {{ total("case when transaction_type = 'Sale' then net_amount_eur end") }}
            as discounted_sales_eur,
        {{ total("case when transaction_type = 'Return' then -net_amount_eur end") }}
            as returns_eur
    from sales_lines
    where customer_id is not null
    group by country, business_date, customer_id

)

select
    country,
    business_date,
    customer_id,
    sale_invoices,
    return_invoices,
    units_sold,
    units_returned,
    gross_sales_eur,
    cast(gross_sales_eur - discounted_sales_eur as decimal(18, 2)) as discounts_eur,
    {{ share_of('gross_sales_eur - discounted_sales_eur', 'gross_sales_eur') }} as discount_rate,
    returns_eur,
    cast(discounted_sales_eur - returns_eur as decimal(18, 2)) as net_sales_eur
from totals
{{ in_slice_order() }}
