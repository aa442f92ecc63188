{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'footfall') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,
        cast(hour_start as date) as business_date,

        ---------- ids
        cast(store_id as bigint) as store_id,

        ---------- numerics
        cast(entries as integer) as entries,
        cast(exits as integer) as exits,

        ---------- dates
        cast(hour_start as timestamp) as hour_start,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'store_id', 'hour_start']) }}

)

select * from newest
