{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'competitor_prices') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,
        cast(observed_on as date) as business_date,

        ---------- ids
        {{ clean_text('competitor') }} as competitor,
        cast(product_id as bigint) as product_id,

        ---------- text
        {{ clean_code('currency') }} as currency_code,

        ---------- booleans
        coalesce(is_promotion, false) as is_promotion,
        in_stock as is_in_stock,

        ---------- numerics
        cast(price as decimal(18, 2)) as price_local,

        ---------- dates
        cast(observed_on as date) as observed_on,

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
        key=['country', 'batch_date', 'competitor', 'product_id', 'observed_on'],
    ) }}

)

select * from newest
