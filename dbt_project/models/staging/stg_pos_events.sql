{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'pos_events') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,
        cast(sold_at as date) as business_date,

        ---------- ids
        {{ clean_text('event_id') }} as event_id,
        {{ clean_text('source') }} as source,
        {{ clean_text('event_type') }} as event_type,
        {{ clean_text('invoice_id') }} as invoice_id,
        cast(line as integer) as line,
        cast(customer_id as bigint) as customer_id,
        cast(product_id as bigint) as product_id,
        cast(store_id as bigint) as store_id,
        cast(employee_id as bigint) as employee_id,

        ---------- text
        {{ clean_text('size') }} as size,
        {{ clean_text('color') }} as color,
        {{ clean_text('sku') }} as sku,
        {{ clean_text('payment_method') }} as payment_method,
        {{ clean_code('currency') }} as currency_code,

        ---------- booleans
        coalesce({{ clean_text('event_type') }} = 'receipt_line.returned', false) as is_return,

        ---------- numerics
        cast(attempt as integer) as attempt,
        cast(quantity as integer) as quantity,
        cast(unit_price as decimal(18, 2)) as unit_price_local,
        cast(discount as decimal(5, 4)) as discount_rate,
        cast(line_total as decimal(18, 2)) as line_total_local,

        ---------- timestamps
        cast(sold_at as timestamp) as sold_at,
        cast(sold_at_utc as timestamp) as sold_at_utc,
        cast(produced_at as timestamp) as produced_at,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions(
        'typed',
        key=['country', 'batch_date', 'source', 'event_id'],
        newest_first=['produced_at', 'delivered_at', 'source_file', 'row_number'],
    ) }}

)

select * from newest
