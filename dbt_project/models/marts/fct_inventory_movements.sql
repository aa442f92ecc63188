{{ config(tags=['business_day', 'country']) }}

with

movements as (

    select * from {{ ref('int_inventory_movements') }}
    where {{ in_slices('country', 'business_date') }}

),

fx_rates as (

    select * from {{ ref('int_fx_rates') }}
    where {{ in_slices(none, 'business_date') }}

),

priced_movements as (

    select
        movements.*,
        {{ eur_rate_of('movements') }} as eur_rate
    from movements
    left join fx_rates
        on fx_rates.business_date = movements.business_date
        and fx_rates.currency_code = movements.currency_code

),

publishable_movements as (

    {{ on_days_with_all_rates('priced_movements') }}

)

select
    ---------- slice
    country,
    business_date,
    moved_at,

    ---------- ids
    movement_id,
    movement_type,
    store_id,
    product_id,
    supplier_id,
    counterpart_store_id,
    reference,

    ---------- text
    size,

    ---------- numerics
    quantity as signed_quantity,
    unit_cost_local,
    cost_amount_local,
    currency_code,
    eur_rate,
    {{ to_eur('cost_amount_local', 'eur_rate') }} as cost_amount_eur
from publishable_movements
{{ in_slice_order() }}
