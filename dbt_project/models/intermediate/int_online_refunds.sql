{{ config(tags=['business_day', 'country']) }}

-- Pages overlap, so a refund arrives in several batch days.

with

versions as (

    select * from {{ ref('stg_online_refunds') }}
    where {{ in_slices('country', 'business_date') }}

),

newest as (

    {{ newest_versions(
        'versions',
        key=['country', 'business_date', 'refund_id'],
        newest_first=['batch_date', 'delivered_at', 'source_file', 'row_number'],
    ) }}

)

select
    country,
    business_date,
    refund_id,
    order_id,
    transaction_status,
    currency_code,
    refund_line_items,
    order_adjustments,
    is_restocked,
    amount_local,
    created_at,
    created_at_local,
    batch_date,
    file_id,
    row_number
from newest
{{ in_slice_order() }}
