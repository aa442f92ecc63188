{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'weather') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,
        cast(observed_on as date) as business_date,

        ---------- ids
        {{ clean_text('city') }} as city,

        ---------- text
        {{ clean_text('condition') }} as condition,

        ---------- numerics
        cast(temperature_min_c as double) as temperature_min_c,
        cast(temperature_max_c as double) as temperature_max_c,
        cast(precipitation_mm as double) as precipitation_mm,
        cast(wind_kmh as double) as wind_kmh,

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

    {{ newest_versions('typed', key=['country', 'batch_date', 'city', 'observed_on']) }}

)

select * from newest
