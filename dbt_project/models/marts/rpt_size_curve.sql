{%- set window_days = 28 -%}
{%- set group = ['country', 'business_date', 'category', 'sub_category'] -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'fct_sales': {'days_before': window_days - 1},
        'dim_product': {'days_before': 'all', 'days_after': var('lookback_days') - 1},
    }},
) }}

with

sales_lines as (

    select * from {{ ref('fct_sales') }}
    where {{ in_window('fct_sales', 'country', 'business_date') }}

),

product_versions as (

    select * from {{ ref('dim_product') }}
    where {{ in_window('dim_product', none, 'valid_from') }}

),

days as (

    select distinct country, business_date
    from sales_lines
    where {{ in_slices(none, 'business_date') }}

),

daily_sizes as (

    select
        sales_lines.country,
        sales_lines.business_date,
        product_versions.category,
        product_versions.sub_category,
        sales_lines.size,
        {{ total_count('sales_lines.quantity') }} as units_sold
    from sales_lines
    inner join product_versions
        on product_versions.product_id = sales_lines.product_id
        and {{ applies_on('product_versions', 'sales_lines.business_date') }}
    where sales_lines.transaction_type = 'Sale'
        and sales_lines.size is not null
    group by
        sales_lines.country,
        sales_lines.business_date,
        product_versions.category,
        product_versions.sub_category,
        sales_lines.size

),

windows as (

    select
        days.country,
        days.business_date,
        daily_sizes.category,
        daily_sizes.sub_category,
        daily_sizes.size,
        {{ total_count('daily_sizes.units_sold') }} as units_sold
    from days
    inner join daily_sizes
        on daily_sizes.country = days.country
        and daily_sizes.business_date between {{ add_days('days.business_date', 1 - window_days) }}
            and days.business_date
    group by
        days.country,
        days.business_date,
        daily_sizes.category,
        daily_sizes.sub_category,
        daily_sizes.size

),

curves as (

    select
        windows.*,
        cast(
            sum(cast(units_sold as bigint)) over (partition by {{ group | join(', ') }}) as bigint
        ) as units_sold_of_all_sizes
    from windows

)

select
    {{ group | join(', ') }},
    size,
    units_sold as units_sold_28d,
    units_sold_of_all_sizes as units_sold_of_all_sizes_28d,
    {{ share_of('units_sold', 'units_sold_of_all_sizes') }} as share_of_units_28d
from curves
{{ in_slice_order() }}
