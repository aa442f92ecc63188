{{ config(tags=['business_day', 'country']) }}

-- Nothing in the feed says that a cart was abandoned: time passes, and no order comes. A checkout
-- counts as abandoned until a version arrives that says it was completed in time, so a row depends
-- on what was delivered and never on when it is looked at.

with

checkouts as (

    select * from {{ ref('int_online_checkouts') }}
    where {{ in_slices('country', 'business_date') }}

),

fx_rates as (

    select * from {{ ref('int_fx_rates') }}
    where {{ in_slices(none, 'business_date') }}

),

timed_checkouts as (

    select
        checkouts.*,
        coalesce(
            completed_at <= {{ dbt.dateadd(
                'minute', var('checkout_abandoned_after_minutes'), 'created_at'
            ) }},
            false
        ) as is_completed_in_time,
        coalesce(
            completed_at <= {{ dbt.dateadd(
                'day', var('checkout_recovered_within_days'), 'created_at'
            ) }},
            false
        ) as is_completed_in_recovery_time
    from checkouts

),

judged_checkouts as (

    select
        timed_checkouts.*,
        -- who completed has left a contact, even if it was erased since
        not is_completed_in_time and (has_contact or is_completed) as is_abandoned
    from timed_checkouts

),

priced_checkouts as (

    select
        judged_checkouts.*,
        {{ eur_rate_of('judged_checkouts') }} as eur_rate
    from judged_checkouts
    left join fx_rates
        on fx_rates.business_date = judged_checkouts.business_date
        and fx_rates.currency_code = judged_checkouts.currency_code

),

publishable_checkouts as (

    {{ on_days_with_all_rates('priced_checkouts') }}

)

select
    ---------- slice
    country,
    business_date,

    ---------- ids
    checkout_id,
    customer_id,

    ---------- text
    source_name,

    ---------- booleans
    has_contact,
    accepts_marketing,
    is_completed_in_time,
    is_abandoned,
    is_abandoned and is_completed_in_recovery_time as is_recovered,
    is_abandoned and has_contact and accepts_marketing as is_contactable,

    ---------- numerics
    line_items_amount_local,
    discount_amount_local,
    subtotal_amount_local,
    total_amount_local,
    currency_code,
    eur_rate,
    {{ to_eur('subtotal_amount_local', 'eur_rate') }} as subtotal_amount_eur,

    ---------- timestamps
    created_at,
    created_at_local,
    completed_at
from publishable_checkouts
{{ in_slice_order() }}
