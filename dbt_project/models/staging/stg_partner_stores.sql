{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'partner_stores') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,

        ---------- ids
        {{ clean_text('store_token') }} as store_token,

        ---------- text
        {{ clean_text('store_group') }} as store_group,
        {{ clean_text('store_name') }} as store_name,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'store_token']) }}

)

select * from newest
