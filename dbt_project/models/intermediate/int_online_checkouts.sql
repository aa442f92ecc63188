{{ config(tags=['business_day', 'country']) }}

-- A checkout is delivered when it is begun and again when it is completed, at times days later.

with

versions as (

    select * from {{ ref('stg_online_checkouts') }}
    where {{ in_slices('country', 'business_date') }}

),

newest as (

    {{ newest_versions(
        'versions',
        key=['country', 'business_date', 'checkout_id'],
        newest_first=['updated_at', 'batch_date', 'delivered_at', 'source_file', 'row_number'],
    ) }}

)

select
    country,
    business_date,
    checkout_id,
    token,
    cart_token,
    customer_id,
    source_name,
    currency_code,
    line_items,
    is_completed,
    has_contact,
    accepts_marketing,
    line_items_amount_local,
    discount_amount_local,
    subtotal_amount_local,
    tax_amount_local,
    total_amount_local,
    created_at,
    created_at_local,
    updated_at,
    completed_at,
    closed_at,
    batch_date,
    file_id,
    row_number
from newest
{{ in_slice_order() }}
