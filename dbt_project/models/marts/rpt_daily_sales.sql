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
        channel,
        currency_code,
        cast(count(distinct store_key) as bigint) as active_stores,
        cast(count(distinct case when transaction_type = 'Sale' then invoice_id end) as bigint)
            as transactions,
        cast(count(distinct case when transaction_type = 'Return' then invoice_id end) as bigint)
            as return_transactions,
        {{ total_count("case when transaction_type = 'Sale' then quantity end") }} as units_sold,
        {{ total_count("case when transaction_type = 'Return' then quantity end") }}
            as units_returned,
        {{ total("case when transaction_type = 'Sale' then gross_amount_local end") }}
            as gross_sales_local,
        {{ total("case when transaction_type = 'Sale' then discount_amount_local end") }}
            as discounts_local,
        {{ total("case when transaction_type = 'Return' then -net_amount_local end") }}
            as returns_local,
        {{ total('net_amount_local') }} as net_sales_local,
        {{ total('net_amount_eur') }} as net_sales_eur
    from sales_lines
    group by country, business_date, channel, currency_code

),

store_totals as (

    select
        country,
        business_date,
        channel,
        currency_code,
        store_key,
        {{ total('net_amount_eur') }} as net_sales_eur
    from sales_lines
    group by country, business_date, channel, currency_code, store_key

),

top_stores as (

    select * from store_totals
    qualify row_number() over (
        partition by country, business_date, channel, currency_code
        order by net_sales_eur desc nulls last, store_key asc nulls last
    ) = 1

)

select
    totals.country,
    totals.business_date,
    totals.channel,
    totals.currency_code,
    totals.active_stores,
    totals.transactions,
    totals.return_transactions,
    totals.units_sold,
    totals.units_returned,
    totals.gross_sales_local,
    totals.discounts_local,
    totals.returns_local,
    totals.net_sales_local,
    totals.net_sales_eur,
    {{ amount_per('totals.net_sales_eur', 'totals.active_stores') }} as avg_store_sales_eur,
    top_stores.store_key as top_store_key
from totals
inner join top_stores
    on top_stores.country = totals.country
    and top_stores.business_date = totals.business_date
    and top_stores.channel = totals.channel
    and top_stores.currency_code = totals.currency_code
{{ in_slice_order() }}
