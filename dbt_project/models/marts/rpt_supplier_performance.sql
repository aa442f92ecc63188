{%- set window_days = 90 -%}
{%- set key = ['country', 'currency_code', 'supplier_id'] -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'int_inventory_movements': {'days_before': 2 * window_days - 1},
        'dim_supplier': {'days_before': 'all', 'days_after': var('lookback_days') - 1},
    }},
) }}

-- Terms are those of the version of the day, as in rpt_reorder_alerts.

with

movements as (

    select * from {{ ref('int_inventory_movements') }}
    where {{ in_window('int_inventory_movements', 'country', 'business_date') }}

),

suppliers as (

    select * from {{ ref('dim_supplier') }}
    where {{ in_window('dim_supplier', none, 'valid_from') }}

),

days as (

    select distinct country, business_date
    from movements
    where {{ in_slices(none, 'business_date') }}

),

receipts_of_days as (

    select
        {{ key | join(', ') }},
        business_date,
        cast(count(*) as bigint) as receipts,
        {{ total_count('quantity') }} as units,
        {{ total('cost_amount_local') }} as cost_local
    from movements
    where movement_type = 'receipt'
        and supplier_id is not null
    group by {{ key | join(', ') }}, business_date

),

windowed_receipts as (

    select
        receipts_of_days.*,
        days.business_date as as_of,
        receipts_of_days.business_date
        > {{ add_days('days.business_date', -window_days) }} as is_recent
    from days
    inner join receipts_of_days
        on receipts_of_days.country = days.country
        and receipts_of_days.business_date
        between {{ add_days('days.business_date', 1 - 2 * window_days) }} and days.business_date

),

totals as (

    select
        {{ key | join(', ') }},
        as_of as business_date,
        max(business_date) as last_receipt_date,
        {{ total_count('case when is_recent then receipts end') }} as receipts,
        cast(count(case when is_recent then 1 end) as bigint) as receipt_days,
        {{ total_count('case when is_recent then units end') }} as units,
        {{ total('case when is_recent then cost_local end') }} as cost_local,
        {{ total_count('case when not is_recent then units end') }} as units_before,
        {{ total('case when not is_recent then cost_local end') }} as cost_before_local
    from windowed_receipts
    group by {{ key | join(', ') }}, as_of

),

costed as (

    select
        totals.*,
        {{ cost_per_piece('cost_local', 'units') }} as unit_cost_local,
        {{ cost_per_piece('cost_before_local', 'units_before') }} as unit_cost_before_local
    from totals

)

select
    ---------- slice
    costed.country,
    costed.business_date,

    ---------- ids
    costed.supplier_id,

    ---------- receipts
    costed.receipts as receipts_90d,
    costed.receipt_days as receipt_days_90d,
    costed.units as received_units_90d,
    costed.last_receipt_date,
    cast({{ dbt.datediff('costed.last_receipt_date', 'costed.business_date', 'day') }} as integer)
        as days_since_last_receipt,

    ---------- cost
    costed.currency_code,
    costed.cost_local as cost_90d_local,
    costed.unit_cost_local as unit_cost_90d_local,
    costed.unit_cost_before_local as unit_cost_before_90d_local,
    {{ rate_of(
        'costed.unit_cost_local - costed.unit_cost_before_local',
        'costed.unit_cost_before_local',
    ) }} as unit_cost_change_rate,

    ---------- terms
    suppliers.lead_time_days
from costed
left join suppliers
    on suppliers.supplier_id = costed.supplier_id
    and {{ applies_on('suppliers', 'costed.business_date') }}
{{ in_slice_order() }}
