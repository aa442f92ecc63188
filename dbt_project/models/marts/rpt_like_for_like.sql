{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {'fct_sales': {'days_before': 'all'}}},
) }}

-- Growth of shops that were there in both weeks says how trade goes; growth of all shops also says
-- how many were opened. Nobody delivers when a shop opens or closes: its sales tell.

with

closing_days as (

    {{ closing_days(ref('fct_sales'), 'retail_week') }}

),

-- most runs close no week, and are spared the past
sales_lines as (

    select
        country,
        business_date,
        channel,
        currency_code,
        -- the web shop is one that has always been there
        coalesce(store_key, channel) as shop,
        net_amount_local,
        net_amount_eur
    from {{ ref('fct_sales') }}
    where {{ in_window('fct_sales', 'country', 'business_date') }}
        and country in (select closing_days.country from closing_days)

),

openings as (

    select
        country,
        channel,
        shop,
        min(business_date) as first_sold_on
    from sales_lines
    group by country, channel, shop

),

lines_of_both_weeks as (

    select
        closing_days.business_date,
        sales_lines.country,
        sales_lines.channel,
        sales_lines.currency_code,
        sales_lines.shop,
        sales_lines.net_amount_local,
        sales_lines.net_amount_eur,
        sales_lines.business_date > {{ add_days('closing_days.business_date', -7) }}
            as is_this_year
    from closing_days
    inner join sales_lines
        on sales_lines.country = closing_days.country
        and (
            sales_lines.business_date between {{ add_days('closing_days.business_date', -6) }}
            and closing_days.business_date
            or sales_lines.business_date between {{ add_days('closing_days.business_date', -370) }}
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
        count(case when is_this_year then 1 end) as lines,
        count(case when not is_this_year then 1 end) as lines_last_year,
        {{ total('case when is_this_year then net_amount_local end') }} as local_amount,
        {{ total('case when is_this_year then net_amount_eur end') }} as eur_amount,
        {{ total('case when not is_this_year then net_amount_local end') }}
            as last_year_local_amount,
        {{ total('case when not is_this_year then net_amount_eur end') }} as last_year_eur_amount
    from lines_of_both_weeks
    group by country, business_date, channel, currency_code, shop

),

judged_shops as (

    select
        shop_weeks.*,
        shop_weeks.lines > 0
        and shop_weeks.lines_last_year > 0
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
    where lines > 0
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
