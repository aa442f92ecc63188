{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'online_refunds') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,
        cast(created_at_local as date) as business_date,

        ---------- ids
        cast(refund_id as bigint) as refund_id,
        cast(order_id as bigint) as order_id,

        ---------- text
        {{ clean_text('transaction_status') }} as transaction_status,
        {{ clean_code('currency') }} as currency_code,
        {{ clean_text('refund_line_items') }} as refund_line_items,
        {{ clean_text('order_adjustments') }} as order_adjustments,

        ---------- booleans
        coalesce(restock, false) as is_restocked,

        ---------- numerics
        cast(amount as decimal(18, 2)) as amount_local,

        ---------- timestamps
        cast(created_at as timestamp) as created_at,
        cast(created_at_local as timestamp) as created_at_local,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'refund_id']) }}

)

select * from newest
