{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'partner_sales') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,
        cast(transaction_time as date) as business_date,

        ---------- ids
        {{ clean_text('store_token') }} as store_token,
        {{ clean_text('transaction_id') }} as transaction_id,
        {{ clean_text('receipt_token') }} as receipt_token,
        {{ clean_text('source_id') }} as source_id,

        ---------- text
        {{ clean_text('user_role') }} as user_role,

        ---------- numerics
        cast(amount as decimal(18, 2)) as amount_usd,

        ---------- timestamps
        cast(transaction_time as timestamp) as transaction_time,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=[
        'country', 'batch_date', 'store_token', 'transaction_id', 'receipt_token',
    ]) }}

)

select * from newest
