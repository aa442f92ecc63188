{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'online_checkouts') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,
        cast(created_at_local as date) as business_date,

        ---------- ids
        cast(checkout_id as bigint) as checkout_id,
        {{ clean_text('token') }} as token,
        {{ clean_text('cart_token') }} as cart_token,
        cast(customer_id as bigint) as customer_id,

        ---------- text
        {{ clean_text('source_name') }} as source_name,
        {{ clean_code('currency') }} as currency_code,
        {{ clean_text('line_items') }} as line_items,

        ---------- booleans
        completed_at is not null as is_completed,
        -- as far as anyone may know it beyond this layer, where the tokens end
        email_token is not null or phone_token is not null as has_contact,
        coalesce(buyer_accepts_marketing, false) as accepts_marketing,

        ---------- numerics
        cast(total_line_items_price as decimal(18, 2)) as line_items_amount_local,
        cast(total_discounts as decimal(18, 2)) as discount_amount_local,
        cast(subtotal_price as decimal(18, 2)) as subtotal_amount_local,
        cast(total_tax as decimal(18, 2)) as tax_amount_local,
        cast(total_price as decimal(18, 2)) as total_amount_local,

        ---------- timestamps
        cast(created_at as timestamp) as created_at,
        cast(created_at_local as timestamp) as created_at_local,
        cast(updated_at as timestamp) as updated_at,
        cast(completed_at as timestamp) as completed_at,
        cast(closed_at as timestamp) as closed_at,

        ---------- personal data: what the gate leaves of it
        email_token,
        phone_token,

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
        key=['country', 'batch_date', 'checkout_id'],
        newest_first=['updated_at', 'delivered_at', 'source_file', 'row_number'],
    ) }}

)

select * from newest
