{%- set item = ['country', 'store_id', 'product_id', 'size'] -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'int_inventory_movements': {'days_before': 'all'},
        'int_inventory_monthly': {'days_before': 'all'},
        'dim_supplier': {'days_before': 'all', 'days_after': var('lookback_days') - 1},
    }},
) }}

-- Terms are those of the version of the day, which is one that came on the day or before it, or the
-- supplier's first one within the lookback: a list that comes late changes the days from its batch
-- date on, one that brings a new supplier also the six before.

with

stock as (

    select * from {{ ref('rpt_stock') }}
    where {{ in_slices('country', 'business_date') }}
        and sold_units_28d > 0

),

carried as (

    {{ carried_rows('int_inventory_monthly') }}

),

movements as (

    {{ rows_since_carried('int_inventory_movements', 'carried') }}

),

suppliers as (

    select * from {{ ref('dim_supplier') }}
    where {{ in_window('dim_supplier', none, 'valid_from') }}

),

last_receipts as (

    -- of each day since, and the last one of all that are carried
    select
        {{ item | join(', ') }},
        supplier_id,
        business_date
    from movements
    where movement_type = 'receipt'
        and supplier_id is not null
    qualify row_number() over (
        partition by {{ item | join(', ') }}, business_date
        order by moved_at desc nulls last, movement_id desc nulls last
    ) = 1

    union all

    select
        {{ item | join(', ') }},
        supplier_id,
        last_receipt_date as business_date
    from carried
    where supplier_id is not null

),

supplied_items as (

    select
        {{ item | join(', ') }},
        supplier_id,
        business_date as supplied_from,
        lead(business_date) over (
            partition by {{ item | join(', ') }} order by business_date asc nulls last
        ) as supplied_to
    from last_receipts

),

supplied_stock as (

    select
        stock.*,
        supplied_items.supplier_id,
        suppliers.lead_time_days
    from stock
    left join supplied_items
        on supplied_items.supplied_from <= stock.business_date
        and coalesce(supplied_items.supplied_to > stock.business_date, true)
        and {{ same_or_null('supplied_items', 'stock', item) }}
    left join suppliers
        on suppliers.supplier_id = supplied_items.supplier_id
        and {{ applies_on('suppliers', 'stock.business_date') }}

),

secured_stock as (

    select
        supplied_stock.*,
        cast(
            {{ var('reorder_service_z') }} * sqrt(
                lead_time_days * power(cast(daily_units_deviation_28d as double), 2)
                + power(
                    cast(average_daily_units_28d as double)
                    * {{ var('reorder_lead_time_deviation_days') }},
                    2
                )
            ) as decimal(18, 4)
        ) as safety_stock_units
    from supplied_stock

),

judged_stock as (

    select
        secured_stock.*,
        cast(average_daily_units_28d * lead_time_days + safety_stock_units as decimal(18, 4))
            as reorder_point_units
    from secured_stock

)

select
    ---------- slice
    country,
    business_date,

    ---------- ids
    store_id,
    product_id,
    supplier_id,

    ---------- text
    size,

    ---------- demand and supply
    on_hand_units,
    average_daily_units_28d,
    daily_units_deviation_28d,
    lead_time_days,
    safety_stock_units,
    reorder_point_units,

    ---------- booleans
    on_hand_units <= reorder_point_units as is_alert
from judged_stock
{{ in_slice_order() }}
