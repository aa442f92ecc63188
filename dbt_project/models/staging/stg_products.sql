{{ config(tags=['global']) }}

with

source as (

    select * from {{ source('raw', 'products') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,

        ---------- ids
        cast(product_id as bigint) as product_id,

        ---------- text
        {{ clean_text('category') }} as category,
        {{ clean_text('sub_category') }} as sub_category,
        {{ clean_text('description_pt') }} as description_pt,
        {{ clean_text('description_de') }} as description_de,
        {{ clean_text('description_fr') }} as description_fr,
        {{ clean_text('description_es') }} as description_es,
        {{ clean_text('description_en') }} as description_en,
        {{ clean_text('description_zh') }} as description_zh,
        {{ clean_code('color') }} as color,
        {{ clean_text('sizes') }} as sizes,

        ---------- numerics
        cast(production_cost as decimal(18, 2)) as production_cost_usd,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'product_id']) }}

)

select * from newest
