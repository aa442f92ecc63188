{{ config(tags=['business_day', 'global']) }}

-- Reference rates come on banking days only. A rate serves its own day and the six days after it,
-- so weekends and holidays are covered and a feed that stopped is noticed within a week.
{% set days_carried = 6 %}

with

delivered_rates as (

    select * from {{ ref('stg_fx_rates') }}
    where {{ in_slices('country', 'rate_date', lead_days=days_carried) }}
        -- the gate refuses these; a division by zero here would stop every country
        and units_per_eur > 0

),

newest_rates as (

    {{ newest_versions(
        'delivered_rates',
        key=['rate_date', 'currency_code'],
        newest_first=['batch_date', 'delivered_at', 'source_file', 'row_number'],
    ) }}

),

carry as (

    {% for days in range(days_carried + 1) -%}
    select {{ days }} as days_carried
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

carried_rates as (

    select
        newest_rates.currency_code,
        newest_rates.rate_date,
        newest_rates.units_per_eur,
        {{ add_days('newest_rates.rate_date', 'carry.days_carried') }} as business_date
    from newest_rates
    cross join carry

),

daily_rates as (

    select * from carried_rates
    where {{ in_slices(none, 'business_date') }}
    qualify row_number() over (
        partition by business_date, currency_code order by rate_date desc nulls last
    ) = 1

)

select
    'ALL' as country,
    business_date,
    currency_code,
    rate_date,
    cast(cast(1 as double) / cast(units_per_eur as double) as decimal(18, 10)) as eur_rate
from daily_rates
{{ in_slice_order() }}
