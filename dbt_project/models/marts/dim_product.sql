{%- set key = ['country', 'product_id'] -%}
{%- set attributes = [
    'category',
    'sub_category',
    'description_pt',
    'description_de',
    'description_fr',
    'description_es',
    'description_en',
    'description_zh',
    'color',
    'sizes',
    'production_cost_usd',
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
        product_id,
        category,
        sub_category,
        description_pt,
        description_de,
        description_fr,
        description_es,
        description_en,
        description_zh,
        color,
        sizes,
        production_cost_usd
    from {{ ref('stg_products') }}

),

versions as (

    {{ versions_of_touched_keys('staged', key, attributes) }}

)

select
    country,
    product_id,
    category,
    sub_category,
    description_pt,
    description_de,
    description_fr,
    description_es,
    description_en,
    description_zh,
    color,
    sizes,
    production_cost_usd,
    valid_from,
    valid_to,
    {{ applies_from(key) }} as applies_from,
    valid_to is null as is_current
from versions
{{ in_slice_order() }}
