{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'stores') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,

        ---------- ids
        cast(store_id as bigint) as store_id,

        ---------- text
        {{ clean_text('store_name') }} as store_name,
        {{ clean_text('city') }} as city,
        {{ clean_text('country_name') }} as country_name,
        {{ clean_text('zip_code') }} as zip_code,

        ---------- numerics
        cast(number_of_employees as integer) as number_of_employees,
        cast(latitude as double) as latitude,
        cast(longitude as double) as longitude,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'store_id']) }}

)

select * from newest
