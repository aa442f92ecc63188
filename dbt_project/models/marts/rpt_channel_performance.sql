{%- set total_of = ['country', 'business_date', 'channel', 'currency_code'] -%}
{{ config(tags=['business_day', 'country']) }}

with

sales_lines as (

    select * from {{ ref('fct_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

totals as (

    select
        {{ total_of | join(', ') }},
        cast(count(distinct case when transaction_type = 'Sale' then invoice_id end) as bigint)
            as transactions,
        {{ total_count("case when transaction_type = 'Sale' then quantity end") }} as units_sold,
        {{ total_count("case when transaction_type = 'Return' then quantity end") }}
            as units_returned,
        {{ total("case when transaction_type = 'Sale' then gross_amount_local end") }}
            as gross_sales_local,
        {{ total("case when transaction_type = 'Sale' then discount_amount_local end") }}
            as discounts_local,
        {{ total("case when transaction_type = 'Sale' then net_amount_local end") }}
            as sales_local,
        {{ total("case when transaction_type = 'Return' then -net_amount_local end") }}
            as returns_local,
        {{ total('net_amount_local') }} as net_sales_local,
        {{ total('net_amount_eur') }} as net_sales_eur
    from sales_lines
    group by {{ total_of | join(', ') }}

),

country_totals as (

    select
        country,
        business_date,
        {{ total('net_sales_eur') }} as net_sales_eur
    from totals
    group by country, business_date

)

select
    ---------- slice
    totals.country,
    totals.business_date,

    ---------- ids
    totals.channel,
    totals.currency_code,

    ---------- sales and returns
    totals.transactions,
    totals.units_sold,
    totals.units_returned,
    totals.gross_sales_local,
    totals.discounts_local,
    totals.sales_local,
    totals.returns_local,
    totals.net_sales_local,
    totals.net_sales_eur,

    ---------- what a receipt is like
    {{ amount_per('totals.sales_local', 'totals.transactions') }}
        as average_transaction_value_local,
    {{ rate_of('totals.units_sold', 'totals.transactions') }} as units_per_transaction,
    {{ amount_per('totals.sales_local', 'totals.units_sold') }} as average_unit_retail_local,
    {{ rate_of('totals.discounts_local', 'totals.gross_sales_local') }} as discount_rate,
    {{ rate_of('totals.returns_local', 'totals.sales_local') }} as return_rate_of_period,
    {{ rate_of('totals.net_sales_eur', 'country_totals.net_sales_eur') }}
        as share_of_country_net_sales
from totals
inner join country_totals
    on country_totals.country = totals.country
    and country_totals.business_date = totals.business_date
{{ in_slice_order() }}
