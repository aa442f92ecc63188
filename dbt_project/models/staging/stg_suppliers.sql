{{ config(tags=['global']) }}

with

source as (

    select * from {{ source('raw', 'suppliers') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,

        ---------- ids
        {{ clean_text('supplier_id') }} as supplier_id,

        ---------- text
        {{ clean_text('name') }} as name,
        {{ clean_code('home_country') }} as home_country,
        {{ clean_text('category') }} as category,
        {{ clean_code('currency') }} as currency_code,

        ---------- numerics
        cast(lead_time_days as integer) as lead_time_days,
        cast(minimum_order_quantity as integer) as minimum_order_quantity,
        cast(payment_terms_days as integer) as payment_terms_days,
        cast(on_time_rate as decimal(5, 4)) as on_time_rate,

        ---------- personal data: what the gate leaves of it
        contact_email_token,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'supplier_id']) }}

)

select * from newest
