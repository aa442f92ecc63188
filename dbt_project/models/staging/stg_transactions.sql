{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'transactions') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,
        cast(sold_at as date) as business_date,

        ---------- ids
        {{ clean_text('invoice_id') }} as invoice_id,
        cast(line as integer) as line,
        {{ dbt.safe_cast(dbt.split_part('trim(invoice_id)', "'-'", 4), 'bigint') }}
            as invoice_counter,
        case
            when {{ clean_text('transaction_type') }} = 'Return'
                then {{ sale_of_return(clean_text('invoice_id')) }}
        end as sale_invoice_id,
        cast(customer_id as bigint) as customer_id,
        cast(product_id as bigint) as product_id,
        cast(store_id as bigint) as store_id,
        cast(employee_id as bigint) as employee_id,

        ---------- text
        {{ clean_text('transaction_type') }} as transaction_type,
        {{ clean_text('size') }} as size,
        {{ clean_text('color') }} as color,
        {{ clean_text('sku') }} as sku,
        {{ clean_text('payment_method') }} as payment_method,
        {{ clean_code('currency') }} as currency_code,

        ---------- booleans
        coalesce({{ clean_text('transaction_type') }} = 'Return', false) as is_return,

        ---------- numerics
        cast(quantity as integer) as quantity,
        cast(unit_price as decimal(18, 2)) as unit_price_local,
        cast(discount as decimal(5, 4)) as discount_rate,
        cast(line_total as decimal(18, 2)) as line_total_local,
        cast(invoice_total as decimal(18, 2)) as invoice_total_local,

        ---------- timestamps
        cast(sold_at as timestamp) as sold_at,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'invoice_id', 'line']) }}

)

select * from newest
