{%- set window_days = 28 -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'rpt_product_performance': {'days_before': window_days - 1},
        'fct_inventory_daily': {'days_before': window_days - 1},
        'dim_product': {'days_before': 'all', 'days_after': var('lookback_days') - 1},
    }},
) }}

with

articles_sold as (

    select * from {{ ref('rpt_product_performance') }}
    where {{ in_window('rpt_product_performance', 'country', 'business_date') }}
        -- what the other channels sell is not taken from the stock that is known
        and channel = 'store'
        and category is not null

),

stock as (

    select * from {{ ref('fct_inventory_daily') }}
    where {{ in_window('fct_inventory_daily', 'country', 'business_date') }}

),

product_versions as (

    select * from {{ ref('dim_product') }}
    where {{ in_window('dim_product', none, 'valid_from') }}

),

stock_days as (

    select distinct country, business_date from stock

),

days as (

    {{ days_with_stock('stock_days', window_days) }}

),

facts as (

    select
        country,
        business_date,
        category,
        {{ total('gross_margin_eur') }} as gross_margin_eur,
        {{ total_count('case when gross_margin_eur is null then 1 end') }} as unknown_margins,
        0 as stock_value_eur
    from articles_sold
    group by country, business_date, category

    union all

    select
        stock.country,
        stock.business_date,
        product_versions.category,
        0 as gross_margin_eur,
        0 as unknown_margins,
        {{ total('stock.closing_value_eur') }} as stock_value_eur
    from stock
    inner join product_versions
        on product_versions.product_id = stock.product_id
        and {{ applies_on('product_versions', 'stock.business_date') }}
    group by stock.country, stock.business_date, product_versions.category

),

windows as (

    select
        days.country,
        days.business_date,
        facts.category,
        -- a margin of part of the sales would be a return that looks right
        case when {{ total_count('facts.unknown_margins') }} = 0
            then {{ total('facts.gross_margin_eur') }} end as gross_margin_eur,
        {{ amount_per(total('facts.stock_value_eur'), 'days.stock_days') }}
            as average_stock_value_eur
    from days
    inner join facts
        on facts.country = days.country
        and facts.business_date between {{ add_days('days.business_date', 1 - window_days) }}
            and days.business_date
    group by days.country, days.business_date, days.stock_days, facts.category

)

select
    country,
    business_date,
    category,
    cast(gross_margin_eur as decimal(18, 2)) as gross_margin_28d_eur,
    average_stock_value_eur as average_stock_value_28d_eur,
    {{ rate_of(
        'gross_margin_eur * 365',
        'average_stock_value_eur * ' ~ window_days,
    ) }} as annual_gross_margin_return
from windows
{{ in_slice_order() }}
