{{ config(tags=['business_day', 'country']) }}

with

versions as (

    select * from {{ ref('stg_inventory_movements') }}
    where {{ in_slices('country', 'business_date') }}

),

newest as (

    {{ newest_versions(
        'versions',
        key=['country', 'business_date', 'movement_id'],
        newest_first=['batch_date', 'delivered_at', 'source_file', 'row_number'],
    ) }}

)

select
    country,
    business_date,
    movement_id,
    movement_type,
    store_id,
    product_id,
    supplier_id,
    counterpart_store_id,
    reference,
    size,
    currency_code,
    quantity,
    unit_cost_local,
    cost_amount_local,
    moved_at,
    batch_date,
    file_id,
    row_number
from newest
{{ in_slice_order() }}
