{%- set key = ['country', 'channel', 'store_key'] -%}
{%- set attributes = [
    'store_id',
    'store_group',
    'store_name',
    'city',
    'zip_code',
    'latitude',
    'longitude',
    'number_of_employees',
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
        'store' as channel,
        cast(store_id as varchar) as store_key,
        store_id,
        cast(null as varchar) as store_group,
        store_name,
        city,
        zip_code,
        latitude,
        longitude,
        number_of_employees
    from {{ ref('stg_stores') }}

    union all

    select
        country,
        batch_date,
        'partner' as channel,
        store_token as store_key,
        cast(null as bigint) as store_id,
        store_group,
        store_name,
        cast(null as varchar) as city,
        cast(null as varchar) as zip_code,
        cast(null as double) as latitude,
        cast(null as double) as longitude,
        cast(null as integer) as number_of_employees
    from {{ ref('stg_partner_stores') }}

),

versions as (

    {{ versions_of_touched_keys('staged', key, attributes) }}

)

select
    country,
    channel,
    store_key,
    store_id,
    store_group,
    store_name,
    city,
    zip_code,
    latitude,
    longitude,
    number_of_employees,
    valid_from,
    valid_to,
    {{ applies_from(key) }} as applies_from,
    valid_to is null as is_current
from versions
{{ in_slice_order() }}
