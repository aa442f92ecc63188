{%- set window_days = 28 -%}
{%- set item = ['country', 'currency_code', 'store_id', 'product_id', 'size'] -%}
{%- set of_the_day = ['on_hand_units', 'on_hand_value_local', 'on_hand_value_eur'] -%}
{%- set of_the_window = {
    'movements': 'bigint',
    'sold_units': 'bigint',
    'squared_sold_units': 'bigint',
    'received_units': 'bigint',
    'net_units': 'bigint',
    'cost_of_sales_local': 'decimal(18, 2)',
    'stock_value_local': 'decimal(18, 2)',
} -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'fct_inventory_daily': {'days_before': window_days - 1},
        'int_inventory_movements': {'days_before': window_days - 1},
    }},
) }}

-- What moved comes from the movements, for the reason that fct_inventory_daily gives.

with

movements as (

    select * from {{ ref('int_inventory_movements') }}
    where {{ in_window('int_inventory_movements', 'country', 'business_date') }}

),

stock as (

    select * from {{ ref('fct_inventory_daily') }}
    where {{ in_window('fct_inventory_daily', 'country', 'business_date') }}

),

stock_days as (

    select distinct country, business_date from stock

),

days as (

    {{ days_with_stock('stock_days', window_days) }}

),

moved as (

    select
        {{ item | join(', ') }},
        business_date,
        count(movement_id) as movements,
        {{ total_count("case when movement_type = 'sale' then -quantity end") }} as sold_units,
        {{ total_count("case when movement_type in ('receipt', 'transfer_in') then quantity end") }}
            as received_units,
        {{ total_count('quantity') }} as net_units,
        {{ total("case when movement_type in ('sale', 'return') then -cost_amount_local end") }}
            as cost_of_sales_local
    from movements
    group by {{ item | join(', ') }}, business_date

),

facts as (

    select
        {{ item | join(', ') }},
        business_date,
        movements,
        sold_units,
        sold_units * sold_units as squared_sold_units,
        received_units,
        net_units,
        cost_of_sales_local,
        0 as stock_value_local,
        0 as on_hand_units,
        0 as on_hand_value_local,
        0 as on_hand_value_eur
    from moved

    union all

    select
        {{ item | join(', ') }},
        business_date,
        {%- for measure in of_the_window if measure != 'stock_value_local' %}
        0 as {{ measure }},
        {%- endfor %}
        closing_value_local as stock_value_local,
        closing_units as on_hand_units,
        closing_value_local as on_hand_value_local,
        closing_value_eur as on_hand_value_eur
    from stock

),

items as (

    select distinct {{ item | join(', ') }} from facts

),

-- A sum over a window of days is what came into it minus what left it, so that no day is read more
-- than twice however long the window is.
entries as (

    select {{ (item + ['business_date'] + of_the_window.keys() | list + of_the_day) | join(', ') }}
    from facts

    union all

    select
        {{ item | join(', ') }},
        {{ add_days('business_date', window_days) }} as business_date,
        {%- for measure in of_the_window %}
        -{{ measure }} as {{ measure }},
        {%- endfor %}
        {%- for measure in of_the_day %}
        0 as {{ measure }}{{ ',' if not loop.last }}
        {%- endfor %}
    from facts

    union all

    select
        {{ prefixed('items', item) }},
        days.business_date,
        {%- for measure in of_the_window.keys() | list + of_the_day %}
        0 as {{ measure }}{{ ',' if not loop.last }}
        {%- endfor %}
    from items
    inner join days
        on days.country = items.country

),

daily_entries as (

    select
        {{ item | join(', ') }},
        business_date,
        {%- for measure, type in of_the_window.items() %}
        cast(sum(cast({{ measure }} as {{ type }})) as {{ type }}) as {{ measure }},
        {%- endfor %}
        {{ total_count('on_hand_units') }} as on_hand_units,
        {{ total('on_hand_value_local') }} as on_hand_value_local,
        {{ total('on_hand_value_eur') }} as on_hand_value_eur
    from entries
    group by {{ item | join(', ') }}, business_date

),

windows as (

    select
        {{ (item + ['business_date'] + of_the_day) | join(', ') }},
        {%- for measure, type in of_the_window.items() %}
        {{ so_far(measure, item, 'business_date', type) }}
            as {{ measure }}{{ ',' if not loop.last }}
        {%- endfor %}
    from daily_entries

),

measured as (

    select
        windows.*,
        windows.on_hand_units - windows.net_units as opening_units,
        {{ amount_per('windows.stock_value_local', 'days.stock_days') }}
            as average_stock_value_local
    from windows
    inner join days
        on days.country = windows.country
        and days.business_date = windows.business_date
    where windows.on_hand_units <> 0
        or windows.movements > 0

)

select
    ---------- slice
    country,
    business_date,

    ---------- ids
    store_id,
    product_id,

    ---------- text
    size,

    ---------- pieces
    on_hand_units,
    opening_units as opening_units_28d,
    received_units as received_units_28d,
    sold_units as sold_units_28d,

    ---------- demand and supply
    {{ rate_of('sold_units', window_days) }} as average_daily_units_28d,
    cast(
        sqrt(
            cast({{ window_days }} * squared_sold_units - sold_units * sold_units as double)
            / {{ window_days * (window_days - 1) }}
        ) as decimal(18, 4)
    ) as daily_units_deviation_28d,
    {{ rate_of('on_hand_units * ' ~ window_days, 'sold_units') }} as days_of_supply,
    {{ rate_of('on_hand_units * ' ~ window_days // 7, 'sold_units') }} as weeks_of_supply,
    {{ rate_of('sold_units', 'opening_units + received_units') }} as sell_through_of_supply_rate,
    {{ rate_of('sold_units', 'opening_units') }} as sell_through_of_opening_rate,

    ---------- value
    currency_code,
    on_hand_value_local,
    on_hand_value_eur,
    cost_of_sales_local as cost_of_sales_28d_local,
    average_stock_value_local as average_stock_value_28d_local,
    {{ rate_of(
        'cost_of_sales_local * 365',
        'average_stock_value_local * ' ~ window_days,
    ) }} as annual_stock_turn
from measured
{{ in_slice_order() }}
