{{ config(tags=['business_day', 'country']) }}

with

versions as (

    select * from {{ ref('stg_competitor_prices') }}
    where {{ in_slices('country', 'business_date') }}

),

newest as (

    {{ newest_versions(
        'versions',
        key=['country', 'business_date', 'competitor', 'product_id'],
        newest_first=['batch_date', 'delivered_at', 'source_file', 'row_number'],
    ) }}

)

select
    country,
    business_date,
    competitor,
    product_id,
    currency_code,
    is_promotion,
    is_in_stock,
    price_local,
    batch_date,
    file_id,
    row_number
from newest
{{ in_slice_order() }}
