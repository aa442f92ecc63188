{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {'fct_shop_sales_daily': {'days_before': 'all'}}},
) }}

-- Growth of shops that were there in both weeks says how trade goes; growth of all shops also says
-- how many were opened. Nobody delivers when a shop opens or closes: its sales tell.

with

closing_days as (

    {{ closing_days(ref('fct_shop_sales_daily'), 'retail_week') }}

),

-- most runs close no week, and are spared the past
shop_days as (

    select
        country,
        business_date,
        channel,
        currency_code,
        -- the web shop is one that has always been there
        coalesce(store_key, channel) as shop,
        net_sales_local,
        net_sales_eur
    from {{ ref('fct_shop_sales_daily') }}
    where {{ in_window('fct_shop_sales_daily', 'country', 'business_date') }}
        and country in (select closing_days.country from closing_days)

),

openings as (

    select
        country,
        channel,
        shop,
        min(business_date) as first_sold_on
    from shop_days
    group by country, channel, shop

),

days_of_both_weeks as (

    select
        closing_days.business_date,
        shop_days.country,
        shop_days.channel,
        shop_days.currency_code,
        shop_days.shop,
        shop_days.net_sales_local,
        shop_days.net_sales_eur,
        shop_days.business_date > {{ add_days('closing_days.business_date', -7) }}
            as is_this_year
    from closing_days
    inner join shop_days
        on shop_days.country = closing_days.country
        and (
            shop_days.business_date between {{ add_days('closing_days.business_date', -6) }}
            and closing_days.business_date
            or shop_days.business_date between {{ add_days('closing_days.business_date', -370) }}
            and {{ add_days('closing_days.business_date', -364) }}
        )

),

shop_weeks as (

    select
        country,
        business_date,
        channel,
        currency_code,
        shop,
        count(case when is_this_year then 1 end) as days,
        count(case when not is_this_year then 1 end) as days_last_year,
        {{ total('case when is_this_year then net_sales_local end') }} as local_amount,
        {{ total('case when is_this_year then net_sales_eur end') }} as eur_amount,
        {{ total('case when not is_this_year then net_sales_local end') }}
            as last_year_local_amount,
        {{ total('case when not is_this_year then net_sales_eur end') }} as last_year_eur_amount
    from days_of_both_weeks
    group by country, business_date, channel, currency_code, shop

),

judged_shops as (

    select
        shop_weeks.*,
        shop_weeks.days > 0
        and shop_weeks.days_last_year > 0
        and openings.first_sold_on < {{ add_days('shop_weeks.business_date', -370) }}
        and not {{ is_week_53('shop_weeks.business_date') }} as is_comparable
    from shop_weeks
    inner join openings
        on openings.country = shop_weeks.country
        and openings.channel = shop_weeks.channel
        and openings.shop = shop_weeks.shop

),

totals as (

    select
        country,
        business_date,
        channel,
        currency_code,
        cast(count(shop) as bigint) as shops,
        cast(count(case when is_comparable then shop end) as bigint) as comparable_shops,
        {{ total('local_amount') }} as net_sales_local,
        {{ total('eur_amount') }} as net_sales_eur,
        {{ total('case when is_comparable then local_amount end') }}
            as comparable_net_sales_local,
        {{ total('case when is_comparable then eur_amount end') }} as comparable_net_sales_eur,
        {{ total('case when is_comparable then last_year_local_amount end') }}
            as last_year_net_sales_local,
        {{ total('case when is_comparable then last_year_eur_amount end') }}
            as last_year_net_sales_eur
    from judged_shops
    where days > 0
    group by country, business_date, channel, currency_code

)

select
    country,
    business_date,
    channel,
    currency_code,
    shops,
    comparable_shops,
    net_sales_local,
    net_sales_eur,
    comparable_net_sales_local,
    comparable_net_sales_eur,
    {{ amount_per(
        'cast(comparable_net_sales_local as decimal(19, 2))'
        ~ ' * cast(last_year_net_sales_eur as decimal(19, 2))',
        'last_year_net_sales_local',
    ) }} as comparable_net_sales_eur_at_last_year_rates,
    last_year_net_sales_local,
    last_year_net_sales_eur,
    {{ rate_of('comparable_net_sales_local - last_year_net_sales_local',
        'last_year_net_sales_local') }} as like_for_like_growth
from totals
{{ in_slice_order() }}
