{%- set key = ['country', 'customer_id'] -%}
{%- set attributes = [
    'city',
    'country_name',
    'gender',
    'birth_year',
    'job_title',
] -%}
{{ config(
    tags=['batch_day', 'country'],
    incremental_strategy='replace_keys',
    unique_key=key,
    meta={'slice_day': 'valid_from'},
) }}

with

staged as (

    -- tokens of names and addresses end here: only what analysis needs goes on
    select
        country,
        batch_date,
        customer_id,
        city,
        country_name,
        gender,
        birth_year,
        job_title
    from {{ ref('stg_customers') }}

),

versions as (

    {{ versions_of_touched_keys('staged', key, attributes) }}

)

select
    country,
    customer_id,
    city,
    country_name,
    gender,
    birth_year,
    job_title,
    valid_from,
    valid_to,
    valid_to is null as is_current
from versions
{{ in_slice_order() }}
