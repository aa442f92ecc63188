{%- set key = ['country', 'promotion_id'] -%}
{%- set attributes = [
    'starts_on',
    'ends_on',
    'category',
    'sub_category',
    'discount_rate',
    'description',
] -%}
{{ config(
    tags=['batch_day', 'global'],
    incremental_strategy='replace_keys',
    unique_key=key,
    meta={'slice_day': 'valid_from'},
) }}

with

staged as (

    select
        country,
        batch_date,
        promotion_id,
        starts_on,
        ends_on,
        category,
        sub_category,
        discount_rate,
        description
    from {{ ref('stg_discounts') }}

),

versions as (

    {{ versions_of_touched_keys('staged', key, attributes) }}

)

select
    country,
    promotion_id,
    starts_on,
    ends_on,
    category,
    sub_category,
    discount_rate,
    description,
    valid_from,
    valid_to,
    valid_to is null as is_current
from versions
{{ in_slice_order() }}
