{#- The service looks once or twice a week; a price seen longer ago is no price of the day. -#}
{%- set days_carried = 6 -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {'int_competitor_prices': {'days_before': days_carried}}},
) }}

with

sales as (

    select * from {{ ref('fct_sales') }}
    where {{ in_slices('country', 'business_date') }}
        and transaction_type = 'Sale'
        and product_id is not null

),

prices as (

    select * from {{ ref('int_competitor_prices') }}
    where {{ in_window('int_competitor_prices', 'country', 'business_date') }}

),

fx_rates as (

    select * from {{ ref('int_fx_rates') }}
    where {{ in_slices(none, 'business_date') }}

),

our_prices as (

    select
        country,
        business_date,
        product_id,
        currency_code,
        eur_rate,
        {{ total_count('quantity') }} as units_sold,
        {{ total('net_amount_local') }} as net_sales_local
    from sales
    group by country, business_date, product_id, currency_code, eur_rate

),

prices_of_the_day as (

    select
        our_prices.*,
        prices.competitor,
        prices.business_date as observed_on,
        prices.is_promotion as is_competitor_promotion,
        prices.is_in_stock as is_competitor_in_stock,
        prices.currency_code as competitor_currency_code,
        prices.price_local as price_in_competitor_currency
    from our_prices
    inner join prices
        on prices.country = our_prices.country
        and prices.product_id = our_prices.product_id
        and prices.business_date between {{ add_days('our_prices.business_date', -days_carried) }}
            and our_prices.business_date
    qualify row_number() over (
        partition by
            our_prices.country,
            our_prices.business_date,
            our_prices.product_id,
            our_prices.currency_code,
            prices.competitor
        order by prices.business_date desc nulls last
    ) = 1

),

rated_prices as (

    select
        prices_of_the_day.*,
        case
            when prices_of_the_day.competitor_currency_code = 'EUR' then cast(1 as decimal(18, 10))
            else fx_rates.eur_rate
        end as competitor_eur_rate
    from prices_of_the_day
    left join fx_rates
        on fx_rates.business_date = prices_of_the_day.business_date
        and fx_rates.currency_code = prices_of_the_day.competitor_currency_code

),

comparable_prices as (

    select
        rated_prices.*,
        -- without a rate of the day there is nothing to compare with; it is never taken as one
        case
            when competitor_currency_code = currency_code then price_in_competitor_currency
            else {{ amount_per(
                'cast(price_in_competitor_currency as decimal(26, 2)) * competitor_eur_rate',
                'eur_rate',
            ) }}
        end as competitor_price_local
    from rated_prices

)

select
    ---------- slice
    country,
    business_date,

    ---------- ids
    product_id,
    competitor,

    ---------- their price
    observed_on,
    competitor_currency_code,
    is_competitor_promotion,
    is_competitor_in_stock,

    ---------- the comparison
    currency_code,
    units_sold,
    net_sales_local,
    {{ amount_per('net_sales_local', 'units_sold') }} as average_price_local,
    competitor_price_local,
    {{ rate_of('net_sales_local', 'units_sold * competitor_price_local') }} as price_index
from comparable_prices
{{ in_slice_order() }}
