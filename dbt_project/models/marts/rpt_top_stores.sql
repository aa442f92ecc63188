{{ config(tags=['business_day', 'country']) }}

with

sales_lines as (

    select * from {{ ref('fct_sales') }}
    where {{ in_slices('country', 'business_date') }}
        and store_key is not null  -- the web shop is none of the shops

),

store_totals as (

    select
        country,
        business_date,
        channel,
        store_key,
        cast(count(distinct case when transaction_type = 'Sale' then invoice_id end) as bigint)
            as transactions,
        {{ total_count("case when transaction_type = 'Sale' then quantity end") }} as units_sold,
        {{ total('net_amount_eur') }} as net_sales_eur
    from sales_lines
    group by country, business_date, channel, store_key

),

ranked_stores as (

    select
        store_totals.*,
        row_number() over (
            partition by country, business_date
            order by
                net_sales_eur desc nulls last,
                channel asc nulls last,
                store_key asc nulls last
        ) as store_rank
    from store_totals

)

select
    country,
    business_date,
    cast(store_rank as integer) as store_rank,
    channel,
    store_key,
    transactions,
    units_sold,
    net_sales_eur
from ranked_stores
where store_rank <= 5
{{ in_slice_order() }}
