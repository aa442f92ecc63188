{{ config(tags=['business_day', 'country']) }}

-- Read by business date with no limit on the batch date: whatever arrived for a day counts,
-- however late. Which days a file makes stale is the orchestrator's business, not this query's.

with

store_lines as (

    select * from {{ ref('stg_transactions') }}
    where {{ in_slices('country', 'business_date') }}

),

till_events as (

    select * from {{ ref('int_pos_events') }}
    where {{ in_slices('country', 'business_date') }}

),

online_lines as (

    select * from {{ ref('int_online_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

partner_receipts as (

    select * from {{ ref('stg_partner_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

delivered_lines as (

    select
        ---------- slice
        country,
        business_date,

        ---------- ids
        'store' as channel,
        invoice_id,
        line,
        sale_invoice_id,
        transaction_type,
        is_return,
        customer_id,
        product_id,
        cast(store_id as varchar) as store_key,
        employee_id,

        ---------- text
        size,
        color,
        sku,
        payment_method,
        currency_code,

        ---------- numerics
        quantity,
        unit_price_local,
        discount_rate,
        line_total_local as net_amount_local,

        ---------- timestamps
        sold_at,

        ---------- delivery
        batch_date,
        delivered_at,
        file_id,
        source_file,
        row_number
    from store_lines

    union all

    select
        ---------- slice
        country,
        business_date,

        ---------- ids
        'partner' as channel,
        -- transaction ids repeat across shops, and one was seen with two receipts
        store_token || '/' || transaction_id || '/' || receipt_token as invoice_id,
        1 as line,
        cast(null as varchar) as sale_invoice_id,
        case when amount_usd < 0 then 'Return' else 'Sale' end as transaction_type,
        amount_usd < 0 as is_return,
        cast(null as bigint) as customer_id,
        cast(null as bigint) as product_id,
        store_token as store_key,
        cast(null as bigint) as employee_id,

        ---------- text
        cast(null as varchar) as size,
        cast(null as varchar) as color,
        cast(null as varchar) as sku,
        cast(null as varchar) as payment_method,
        'USD' as currency_code,

        ---------- numerics
        1 as quantity,
        cast(abs(amount_usd) as decimal(18, 2)) as unit_price_local,
        cast(0 as decimal(5, 4)) as discount_rate,
        amount_usd as net_amount_local,

        ---------- timestamps
        transaction_time as sold_at,

        ---------- delivery
        batch_date,
        delivered_at,
        file_id,
        source_file,
        row_number
    from partner_receipts

),

newest as (

    {{ newest_versions(
        'delivered_lines',
        key=['country', 'business_date', 'channel', 'invoice_id', 'line'],
        newest_first=['batch_date', 'delivered_at', 'source_file', 'row_number'],
    ) }}

),

receipts_of_the_night as (

    select distinct country, business_date, invoice_id
    from newest
    where channel = 'store'

),

till_lines as (

    select * from till_events
    -- A receipt that the shop's nightly file brings is what the file says, all of its lines: the
    -- file is what was booked, the till's events are what was known before.
    where not exists (
        select 1
        from receipts_of_the_night
        where receipts_of_the_night.country = till_events.country
            and receipts_of_the_night.business_date = till_events.business_date
            and receipts_of_the_night.invoice_id = till_events.invoice_id
    )

),

newest_till_lines as (

    {{ newest_versions(
        'till_lines',
        key=['country', 'business_date', 'invoice_id', 'line'],
        newest_first=['produced_at', 'source', 'event_id'],
    ) }}

),

order_lines as (

    select
        country,
        business_date,
        channel,
        'file' as line_source,
        invoice_id,
        line,
        sale_invoice_id,
        transaction_type,
        is_return,
        customer_id,
        product_id,
        store_key,
        employee_id,
        size,
        color,
        sku,
        payment_method,
        currency_code,
        quantity,
        unit_price_local,
        discount_rate,
        net_amount_local,
        sold_at,
        batch_date,
        file_id,
        row_number
    from newest

    union all

    select
        country,
        business_date,
        'store' as channel,
        'till_event' as line_source,
        invoice_id,
        line,
        case when is_return then {{ sale_of_return('invoice_id') }} end as sale_invoice_id,
        case when is_return then 'Return' else 'Sale' end as transaction_type,
        is_return,
        customer_id,
        product_id,
        cast(store_id as varchar) as store_key,
        employee_id,
        size,
        color,
        sku,
        payment_method,
        currency_code,
        quantity,
        unit_price_local,
        discount_rate,
        line_total_local as net_amount_local,
        sold_at,
        batch_date,
        file_id,
        row_number
    from newest_till_lines

    union all

    select
        country,
        business_date,
        'online' as channel,
        'shop_api' as line_source,
        invoice_id,
        line,
        sale_invoice_id,
        transaction_type,
        is_return,
        customer_id,
        product_id,
        cast(null as varchar) as store_key,
        cast(null as bigint) as employee_id,
        size,
        cast(null as varchar) as color,
        sku,
        cast(null as varchar) as payment_method,
        currency_code,
        quantity,
        unit_price_local,
        discount_rate,
        net_amount_local,
        sold_at,
        batch_date,
        file_id,
        row_number
    from online_lines

)

select * from order_lines
{{ in_slice_order() }}
