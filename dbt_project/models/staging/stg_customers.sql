{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'customers') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,

        ---------- ids
        cast(customer_id as bigint) as customer_id,

        ---------- text
        {{ clean_text('city') }} as city,
        {{ clean_text('country_name') }} as country_name,
        {{ clean_code('gender') }} as gender,
        {{ clean_text('job_title') }} as job_title,

        ---------- personal data: what the gate leaves of it
        name_token,
        email_token,
        telephone_token,
        cast(date_of_birth_year as integer) as birth_year,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'customer_id']) }}

)

select * from newest
