{{ config(tags=['business_day', 'country']) }}

with

checkouts as (

    select * from {{ ref('fct_checkouts') }}
    where {{ in_slices('country', 'business_date') }}

),

totals as (

    select
        country,
        business_date,
        -- one by contract; two would be two rows and fail the test of the grain, not one sum
        currency_code,
        cast(count(checkout_id) as bigint) as created_checkouts,
        cast(count(case when is_completed_in_time then checkout_id end) as bigint)
            as completed_checkouts,
        cast(count(case when is_abandoned then checkout_id end) as bigint) as abandoned_checkouts,
        cast(
            count(case when not is_completed_in_time and not is_abandoned then checkout_id end)
            as bigint
        ) as anonymous_checkouts,
        cast(count(case when is_recovered then checkout_id end) as bigint) as recovered_checkouts,
        cast(count(case when is_contactable then checkout_id end) as bigint)
            as contactable_checkouts,
        {{ total('case when is_recovered then subtotal_amount_local end') }}
            as recovered_revenue_local,
        {{ total('case when is_recovered then subtotal_amount_eur end') }} as recovered_revenue_eur
    from checkouts
    group by country, business_date, currency_code

)

select
    country,
    business_date,
    currency_code,
    created_checkouts,
    completed_checkouts,
    anonymous_checkouts,
    abandoned_checkouts,
    recovered_checkouts,
    contactable_checkouts,
    {{ share_of('abandoned_checkouts', 'created_checkouts - anonymous_checkouts') }}
        as abandonment_rate,
    {{ share_of('recovered_checkouts', 'abandoned_checkouts') }} as recovery_rate,
    recovered_revenue_local,
    recovered_revenue_eur
from totals
{{ in_slice_order() }}
