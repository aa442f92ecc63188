{%- set baseline_days = 28 -%}
{%- set correlated_days = 84 -%}
{%- set days_before = correlated_days - 1 + baseline_days -%}
{%- set least_sales_days = 3 -%}
{%- set least_weather_days = 14 -%}
{%- set least_correlated_days = 30 -%}
{%- set anomalies = {
    'temperature': 'temperature_anomaly_c',
    'precipitation': 'precipitation_anomaly_mm',
} -%}
{%- set key = ['country', 'business_date', 'city', 'currency_code'] -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'fct_sales': {'days_before': days_before},
        'int_weather': {'days_before': days_before},
        'dim_store': {'days_before': 'all', 'days_after': var('lookback_days') - 1},
    }},
) }}

-- Sales and weather are both told as what differs from the four weeks before: season and week are
-- in both sides of the difference, so what is left may have to do with each other.

with

stores as (

    select * from {{ ref('dim_store') }}
    where {{ in_window('dim_store', 'country', 'valid_from') }}
        and city is not null

),

sales as (

    select * from {{ ref('fct_sales') }}
    where {{ in_window('fct_sales', 'country', 'business_date') }}
        and channel = 'store'
        and transaction_type = 'Sale'

),

weather as (

    select * from {{ ref('int_weather') }}
    where {{ in_window('int_weather', 'country', 'business_date') }}

),

store_sales as (

    select
        country,
        business_date,
        channel,
        store_key,
        currency_code,
        {{ total('net_amount_local') }} as net_sales_local
    from sales
    group by country, business_date, channel, store_key, currency_code

),

city_sales as (

    select
        store_sales.country,
        store_sales.business_date,
        stores.city,
        store_sales.currency_code,
        {{ total('store_sales.net_sales_local') }} as net_sales_local
    from store_sales
    inner join stores
        on stores.country = store_sales.country
        and stores.channel = store_sales.channel
        and stores.store_key = store_sales.store_key
        and {{ applies_on('stores', 'store_sales.business_date') }}
    group by
        store_sales.country,
        store_sales.business_date,
        stores.city,
        store_sales.currency_code

),

usual_sales as (

    select
        {{ prefixed('city_sales', key) }},
        city_sales.net_sales_local,
        cast(count(earlier.business_date) as bigint) as baseline_days,
        {{ amount_per(total('earlier.net_sales_local'), 'count(earlier.business_date)') }}
            as baseline_sales_local
    from city_sales
    left join city_sales as earlier
        on earlier.country = city_sales.country
        and earlier.city = city_sales.city
        and earlier.currency_code = city_sales.currency_code
        and earlier.business_date in (
            {%- for days in range(7, baseline_days + 1, 7) %}
            {{ add_days('city_sales.business_date', -days) }}{{ ',' if not loop.last }}
            {%- endfor %}
        )
    group by {{ prefixed('city_sales', key) }}, city_sales.net_sales_local

),

usual_weather as (

    select
        weather.country,
        weather.business_date,
        weather.city,
        weather.temperature_mean_c,
        weather.precipitation_mm,
        {%- for measure in ('temperature_mean_c', 'precipitation_mm') %}
        case
            when count(earlier.{{ measure }}) >= {{ least_weather_days }}
                then {{ quotient(
                    exact_total('earlier.' ~ measure),
                    'count(earlier.' ~ measure ~ ')',
                    'decimal(18, 10)', 4, 'decimal(18, 4)',
                ) }}
        end as usual_{{ measure }}{{ ',' if not loop.last }}
        {%- endfor %}
    from weather
    left join weather as earlier
        on earlier.country = weather.country
        and earlier.city = weather.city
        and earlier.business_date between {{ add_days('weather.business_date', -baseline_days) }}
            and {{ add_days('weather.business_date', -1) }}
    group by
        weather.country,
        weather.business_date,
        weather.city,
        weather.temperature_mean_c,
        weather.precipitation_mm

),

days as (

    select
        usual_sales.*,
        case
            when usual_sales.baseline_days >= {{ least_sales_days }}
                then {{ rate_of(
                    'usual_sales.net_sales_local - usual_sales.baseline_sales_local',
                    'usual_sales.baseline_sales_local',
                ) }}
        end as sales_change_rate,
        usual_weather.temperature_mean_c,
        usual_weather.precipitation_mm,
        cast(
            usual_weather.temperature_mean_c - usual_weather.usual_temperature_mean_c
            as decimal(18, 4)
        ) as temperature_anomaly_c,
        cast(
            usual_weather.precipitation_mm - usual_weather.usual_precipitation_mm
            as decimal(18, 4)
        ) as precipitation_anomaly_mm
    from usual_sales
    inner join usual_weather
        on usual_weather.country = usual_sales.country
        and usual_weather.business_date = usual_sales.business_date
        and usual_weather.city = usual_sales.city

),

reported_days as (

    select * from days
    where {{ in_slices('country', 'business_date') }}

),

{% for name, anomaly in anomalies.items() -%}
{{ name }}_sums as (

    select
        {{ prefixed('reported_days', key) }},
        cast(count(days.{{ anomaly }}) as bigint) as {{ name }}_days,
        min(days.sales_change_rate) < max(days.sales_change_rate)
            and min(days.{{ anomaly }}) < max(days.{{ anomaly }}) as varies,
        {{ exact_total('days.sales_change_rate') }} as y,
        {{ exact_total('days.sales_change_rate * days.sales_change_rate') }} as yy,
        {{ exact_total('days.' ~ anomaly) }} as x,
        {{ exact_total('days.' ~ anomaly ~ ' * days.' ~ anomaly) }} as xx,
        {{ exact_total('days.' ~ anomaly ~ ' * days.sales_change_rate') }} as xy
    from reported_days
    inner join days
        on days.country = reported_days.country
        and days.city = reported_days.city
        and days.currency_code = reported_days.currency_code
        and days.business_date
            between {{ add_days('reported_days.business_date', 1 - correlated_days) }}
            and reported_days.business_date
    where days.sales_change_rate is not null
        and days.{{ anomaly }} is not null
    group by {{ prefixed('reported_days', key) }}

),

{% endfor -%}
correlated as (

    select
        reported_days.*,
        {%- for name in anomalies %}
        coalesce({{ name }}_sums.{{ name }}_days, 0) as {{ name }}_correlated_days,
        case
            when {{ name }}_sums.{{ name }}_days >= {{ least_correlated_days }}
                and {{ name }}_sums.varies
                then
                {{ estimate(
                    '({n}.{n}_days * {n}.xy - {n}.x * {n}.y)'
                    '/ sqrt({n}.{n}_days * {n}.xx - {n}.x * {n}.x)'
                    '/ sqrt({n}.{n}_days * {n}.yy - {n}.y * {n}.y)'
                    .replace('{n}.', name ~ '_sums.').replace('{n}', name)
                ) }}
        end as {{ name }}_correlation{{ ',' if not loop.last }}
        {%- endfor %}
    from reported_days
    {%- for name in anomalies %}
    left join {{ name }}_sums
        on
        {%- for column in key %}
        {{ 'and ' if not loop.first }}{{ name }}_sums.{{ column }} = reported_days.{{ column }}
        {%- endfor %}
    {%- endfor %}

)

select
    ---------- slice
    country,
    business_date,

    ---------- where
    city,
    currency_code,

    ---------- sales
    net_sales_local,
    baseline_days,
    baseline_sales_local,
    sales_change_rate,

    ---------- weather
    temperature_mean_c,
    temperature_anomaly_c,
    precipitation_mm,
    precipitation_anomaly_mm,

    ---------- how they went together
    temperature_correlated_days,
    temperature_correlation,
    precipitation_correlated_days,
    precipitation_correlation
from correlated
{{ in_slice_order() }}
