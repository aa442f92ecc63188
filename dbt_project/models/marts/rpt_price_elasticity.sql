{%- set window_days = 84 -%}
{%- set least_observations = 30 -%}
{%- set least_price_deviation = 0.02 -%}
{%- set group = ['country', 'business_date', 'category', 'sub_category', 'currency_code'] -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'fct_sales': {'days_before': window_days - 1},
        'dim_product': {'days_before': 'all', 'days_after': var('lookback_days') - 1},
    }},
) }}

-- Demeaning by two factors at once takes iterations. An article on a weekday is one factor, holds
-- both, and is removed exactly by its mean.

with

closing_days as (

    {{ closing_days(ref('fct_sales'), 'month') }}

),

products as (

    select * from {{ ref('dim_product') }}
    where {{ in_window('dim_product', none, 'valid_from') }}

),

-- most runs close no month, and are spared the days before
sales as (

    select * from {{ ref('fct_sales') }}
    where {{ in_window('fct_sales', 'country', 'business_date') }}
        and transaction_type = 'Sale'
        and country in (select closing_days.country from closing_days)

),

product_days as (

    select
        country,
        business_date,
        product_id,
        currency_code,
        {{ total_count('quantity') }} as units,
        {{ total('net_amount_local') }} as net_sales_local
    from sales
    group by country, business_date, product_id, currency_code

),

observations as (

    select
        closing_days.country,
        closing_days.business_date,
        products.category,
        products.sub_category,
        product_days.currency_code,
        product_days.product_id,
        {{ iso_weekday('product_days.business_date') }} as weekday,
        {{ exact('ln(cast(product_days.units as double))') }} as log_units,
        {{ exact(
            'ln(cast(product_days.net_sales_local as double) / cast(product_days.units as double))'
        ) }} as log_price
    from closing_days
    inner join product_days
        on product_days.country = closing_days.country
        and product_days.business_date
            between {{ add_days('closing_days.business_date', 1 - window_days) }}
            and closing_days.business_date
    inner join products
        on products.product_id = product_days.product_id
        and {{ applies_on('products', 'product_days.business_date') }}
    -- given away is sold at no price
    where product_days.units > 0
        and product_days.net_sales_local > 0

),

-- the mean of an article on a weekday; it takes two days to say anything
cells as (

    select
        observations.*,
        {%- for log in ('log_units', 'log_price') %}
        cast(
            sum(cast({{ log }} as {{ exact_type() }})) over (
                partition by {{ group | join(', ') }}, product_id, weekday
            ) as {{ exact_type() }}
        ) as {{ log }}_of_cell,
        {%- endfor %}
        count(*) over (
            partition by {{ group | join(', ') }}, product_id, weekday
        ) as days_of_cell
    from observations

),

demeaned as (

    select
        {{ group | join(', ') }},
        product_id,
        weekday,
        {%- for log in ('log_units', 'log_price') %}
        cast({{ log }} as double) - cast({{ log }}_of_cell as double) / days_of_cell
            as {{ log }},
        {%- endfor %}
        days_of_cell > 1 as is_comparable
    from cells

),

sums as (

    select
        {{ group | join(', ') }},
        cast(count(case when is_comparable then 1 end) as bigint) as observations,
        cast(
            count(distinct case when is_comparable then product_id end) as bigint
        ) as products,
        cast(
            count(distinct case when is_comparable then product_id * 7 + weekday end) as bigint
        ) as cells,
        {{ exact_total('log_price * log_price') }} as price_price,
        {{ exact_total('log_price * log_units') }} as price_units,
        {{ exact_total('log_units * log_units') }} as units_units
    from demeaned
    group by {{ group | join(', ') }}

),

varied as (

    select
        sums.*,
        coalesce(
            {{ estimate('sqrt(price_price / nullif(observations - cells, 0))') }}, 0
        ) as price_deviation
    from sums

),

judged as (

    select
        varied.*,
        case
            when observations < {{ least_observations }}
                then 'observations below {{ least_observations }}'
            when price_deviation < {{ least_price_deviation }}
                then 'price deviation below {{ least_price_deviation }}'
        end as why_no_elasticity
    from varied

),

estimated as (

    select
        judged.*,
        case when why_no_elasticity is null then price_units / price_price end as slope,
        case
            when why_no_elasticity is null
                then sqrt(
                    greatest(units_units - price_units * price_units / price_price, 0)
                    / (observations - cells - 1)
                    / price_price
                )
        end as slope_error
    from judged

)

select
    ---------- slice
    country,
    business_date,

    ---------- group
    category,
    sub_category,
    currency_code,

    ---------- what it is estimated from
    products,
    observations,
    price_deviation as log_price_deviation,

    ---------- elasticity
    {{ estimate('slope') }} as elasticity,
    {{ estimate('slope_error') }} as elasticity_standard_error,
    {{ estimate('slope - ' ~ z_of_95_percent() ~ ' * slope_error') }} as elasticity_lower_95,
    {{ estimate('slope + ' ~ z_of_95_percent() ~ ' * slope_error') }} as elasticity_upper_95,
    why_no_elasticity
from estimated
{{ in_slice_order() }}
