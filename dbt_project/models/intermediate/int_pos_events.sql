{{ config(tags=['business_day', 'country']) }}

-- Tills repeat what was not acknowledged, so one event arrives in several batch days. What the till
-- said last counts, not what arrived last; delivery decides only between equal producer times.

with

versions as (

    select * from {{ ref('stg_pos_events') }}
    where {{ in_slices('country', 'business_date') }}

),

newest as (

    {{ newest_versions(
        'versions',
        key=['country', 'business_date', 'source', 'event_id'],
        newest_first=['produced_at', 'batch_date', 'delivered_at', 'source_file', 'row_number'],
    ) }}

)

select
    country,
    business_date,
    event_id,
    source,
    event_type,
    invoice_id,
    line,
    customer_id,
    product_id,
    store_id,
    employee_id,
    size,
    color,
    sku,
    payment_method,
    currency_code,
    is_return,
    attempt,
    quantity,
    unit_price_local,
    discount_rate,
    line_total_local,
    sold_at,
    sold_at_utc,
    produced_at,
    batch_date,
    file_id,
    row_number
from newest
{{ in_slice_order() }}
