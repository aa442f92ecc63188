{%- set key = ['country', 'employee_id'] -%}
{%- set attributes = [
    'store_id',
    'position',
] -%}
{{ config(
    tags=['batch_day', 'country'],
    incremental_strategy='replace_keys',
    unique_key=key,
    meta={'slice_day': 'valid_from'},
) }}

with

staged as (

    select
        country,
        batch_date,
        employee_id,
        store_id,
        position
    from {{ ref('stg_employees') }}

),

versions as (

    {{ versions_of_touched_keys('staged', key, attributes) }}

)

select
    country,
    employee_id,
    store_id,
    position,
    valid_from,
    valid_to,
    valid_to is null as is_current
from versions
{{ in_slice_order() }}
