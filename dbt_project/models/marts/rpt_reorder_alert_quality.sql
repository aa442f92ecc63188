{#- The longest lead time that is waited for, and how long a country may report no movement. -#}
{%- set horizon = 60 -%}
{%- set silence = 7 -%}
{%- set item = ['country', 'store_id', 'product_id', 'size'] -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'rpt_reorder_alerts': {'days_before': horizon},
        'fct_inventory_daily': {'days_after': horizon + silence},
    }},
) }}

-- What an alert is worth shows afterwards, and whether a stock-out was foreseen was told before it;
-- so a day looks ahead with its alerts and back with its stock-outs.

with

alerts as (

    -- of what is out of stock already nothing can be foreseen
    select
        {{ item | join(', ') }},
        business_date,
        least(lead_time_days, {{ horizon }}) as lead_time_days,
        cast(
            {{ dbt.dateadd('day', 'least(lead_time_days, ' ~ horizon ~ ')', 'business_date') }}
            as date
        ) as last_date
    from {{ ref('rpt_reorder_alerts') }}
    where {{ in_window('rpt_reorder_alerts', 'country', 'business_date') }}
        and is_alert
        and on_hand_units > 0

),

stock as (

    select * from {{ ref('fct_inventory_daily') }}
    where {{ in_window('fct_inventory_daily', 'country', 'business_date') }}

),

stock_days as (

    select distinct country, business_date from stock

),

empty_stock as (

    select * from stock
    where closing_units <= 0

),

alert_outcomes as (

    select
        {{ prefixed('alerts', item) }},
        alerts.business_date,
        alerts.last_date,
        count(empty_stock.business_date) > 0 as is_right
    from alerts
    left join empty_stock
        on empty_stock.business_date > alerts.business_date
        and empty_stock.business_date <= alerts.last_date
        and {{ same_or_null('empty_stock', 'alerts', item) }}
    where {{ in_slices(none, 'alerts.business_date') }}
    group by {{ prefixed('alerts', item) }}, alerts.business_date, alerts.last_date

),

alerts_of_days as (

    select
        country,
        business_date,
        max(last_date) as last_date,
        cast(count(*) as bigint) as alerts,
        cast(count(case when is_right then 1 end) as bigint) as right_alerts
    from alert_outcomes
    group by country, business_date

),

stock_outs as (

    select
        {{ prefixed('empty_stock', item) }},
        empty_stock.business_date,
        count(alerts.business_date) > 0 as is_foreseen
    from empty_stock
    left join alerts
        on alerts.business_date < empty_stock.business_date
        and alerts.last_date >= empty_stock.business_date
        and {{ same_or_null('alerts', 'empty_stock', item) }}
    where {{ in_slices(none, 'empty_stock.business_date') }}
        and empty_stock.opening_units > 0
    group by {{ prefixed('empty_stock', item) }}, empty_stock.business_date

),

stock_outs_of_days as (

    select
        country,
        business_date,
        cast(count(*) as bigint) as stock_outs,
        cast(count(case when is_foreseen then 1 end) as bigint) as foreseen_stock_outs
    from stock_outs
    group by country, business_date

),

-- The last days of an alert are over once the country has reported one of them, or a later one.
closed_days as (

    select
        alerts_of_days.country,
        alerts_of_days.business_date
    from alerts_of_days
    inner join stock_days
        on stock_days.country = alerts_of_days.country
        and stock_days.business_date >= alerts_of_days.last_date
        and stock_days.business_date
        <= {{ add_days('alerts_of_days.business_date', horizon + silence) }}
    group by alerts_of_days.country, alerts_of_days.business_date

),

measured as (

    select
        stock_days.country,
        stock_days.business_date,
        alerts_of_days.last_date,
        alerts_of_days.business_date is null or closed_days.business_date is not null as is_closed,
        coalesce(alerts_of_days.alerts, 0) as alerts,
        coalesce(alerts_of_days.right_alerts, 0) as right_alerts,
        coalesce(stock_outs_of_days.stock_outs, 0) as stock_outs,
        coalesce(stock_outs_of_days.foreseen_stock_outs, 0) as foreseen_stock_outs
    from stock_days
    left join alerts_of_days
        on alerts_of_days.country = stock_days.country
        and alerts_of_days.business_date = stock_days.business_date
    left join closed_days
        on closed_days.country = stock_days.country
        and closed_days.business_date = stock_days.business_date
    left join stock_outs_of_days
        on stock_outs_of_days.country = stock_days.country
        and stock_outs_of_days.business_date = stock_days.business_date
    where {{ in_slices(none, 'stock_days.business_date') }}

)

select
    ---------- slice
    country,
    business_date,

    ---------- what became of alerts
    cast(alerts as bigint) as alerts,
    last_date as closes_on,
    is_closed,
    cast(case when is_closed then right_alerts end as bigint) as right_alerts,
    case when is_closed then {{ share_of('right_alerts', 'alerts') }} end as precision_rate,

    ---------- what had become of stock-outs
    cast(stock_outs as bigint) as stock_outs,
    cast(foreseen_stock_outs as bigint) as foreseen_stock_outs,
    {{ share_of('foreseen_stock_outs', 'stock_outs') }} as recall_rate
from measured
{{ in_slice_order() }}
