{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'employees') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,

        ---------- ids
        cast(employee_id as bigint) as employee_id,
        cast(store_id as bigint) as store_id,

        ---------- text
        {{ clean_text('position') }} as position,

        ---------- personal data: what the gate leaves of it
        name_token,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'employee_id']) }}

)

select * from newest
