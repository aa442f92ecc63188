{%- set key = ['country', 'supplier_id'] -%}
{%- set attributes = [
    'name',
    'home_country',
    'category',
    'currency_code',
    'lead_time_days',
    'minimum_order_quantity',
    'payment_terms_days',
    'on_time_rate',
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
        supplier_id,
        name,
        home_country,
        category,
        currency_code,
        lead_time_days,
        minimum_order_quantity,
        payment_terms_days,
        on_time_rate
    from {{ ref('stg_suppliers') }}

),

versions as (

    {{ versions_of_touched_keys('staged', key, attributes) }}

)

select
    country,
    supplier_id,
    name,
    home_country,
    category,
    currency_code,
    lead_time_days,
    minimum_order_quantity,
    payment_terms_days,
    on_time_rate,
    valid_from,
    valid_to,
    {{ applies_from(key) }} as applies_from,
    valid_to is null as is_current
from versions
{{ in_slice_order() }}
