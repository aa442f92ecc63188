{{ config(tags=['business_day', 'country']) }}

-- An order is delivered anew with every change; pages of old versions may come later than newer
-- ones, so the shop's own time of change decides.

with

versions as (

    select * from {{ ref('stg_online_orders') }}
    where {{ in_slices('country', 'business_date') }}

),

newest as (

    {{ newest_versions(
        'versions',
        key=['country', 'business_date', 'order_id'],
        newest_first=['updated_at', 'batch_date', 'delivered_at', 'source_file', 'row_number'],
    ) }}

)

select
    country,
    business_date,
    order_id,
    order_name,
    checkout_id,
    checkout_token,
    cart_token,
    customer_id,
    financial_status,
    fulfillment_status,
    source_name,
    currency_code,
    line_items,
    discount_codes,
    is_test,
    is_cancelled,
    accepts_marketing,
    line_items_amount_local,
    discount_amount_local,
    subtotal_amount_local,
    tax_amount_local,
    total_amount_local,
    created_at,
    created_at_local,
    updated_at,
    cancelled_at,
    closed_at,
    batch_date,
    file_id,
    row_number
from newest
{{ in_slice_order() }}
