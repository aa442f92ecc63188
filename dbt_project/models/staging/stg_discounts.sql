{{ config(tags=['global']) }}

with

source as (

    select * from {{ source('raw', 'discounts') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,

        ---------- ids
        -- blank category and sub category mean all products, so the key must be null-safe
        {{ fingerprint(
            ['starts_on', 'ends_on', clean_text('category'), clean_text('sub_category')]
        ) }} as promotion_id,

        ---------- text
        {{ clean_text('category') }} as category,
        {{ clean_text('sub_category') }} as sub_category,
        {{ clean_text('description') }} as description,

        ---------- numerics
        cast(discount as decimal(5, 4)) as discount_rate,

        ---------- dates
        cast(starts_on as date) as starts_on,
        cast(ends_on as date) as ends_on,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'promotion_id']) }}

)

select * from newest
