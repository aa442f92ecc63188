{{ config(tags=['global']) }}

with

source as (

    select * from {{ source('raw', 'fx_rates') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,
        cast(rate_date as date) as rate_date,

        ---------- ids
        {{ clean_code('currency') }} as currency_code,

        ---------- numerics
        cast(rate as decimal(18, 8)) as units_per_eur,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'rate_date', 'currency_code']) }}

)

select * from newest
