{%- set baseline_days = 28 -%}
{%- set longest_days = 42 -%}
{%- set after_days = 14 -%}
{%- set least_baseline_days = 3 -%}
{%- set least_units = 10 -%}
{%- set phases = ('baseline', 'promotion', 'after') -%}
{%- set group = ['promotion_id', 'country', 'category', 'sub_category'] -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'fct_sales': {'days_before': longest_days - 1 + baseline_days, 'days_after': after_days},
        'dim_product': {'days_before': 'all', 'days_after': after_days + var('lookback_days') - 1},
        'dim_promotion': {'days_before': 'all', 'days_after': after_days},
    }},
) }}

-- A promotion is a window for a category or sub category, so sub categories are compared: all
-- articles of one are in the same promotions on a day. What is known of promotions is what had been
-- delivered when the days after were over: their begin is data, and nothing is dated back. An
-- article that is sold on the last of these days may be told of within the lookback.

with

promotion_versions as (

    select * from {{ ref('dim_promotion') }}
    where {{ in_window('dim_promotion', none, 'valid_from') }}

),

products as (

    select * from {{ ref('dim_product') }}
    where {{ in_window('dim_product', none, 'valid_from') }}

),

sales as (

    select * from {{ ref('fct_sales') }}
    where {{ in_window('fct_sales', 'country', 'business_date') }}
        and transaction_type = 'Sale'
        and product_id is not null

),

promotions as (

    select
        promotion_versions.*,
        {{ add_days('starts_on', -baseline_days) }} as compared_from,
        {{ add_days('ends_on', after_days) }} as compared_to
    from promotion_versions
    where {{ in_slices(none, 'ends_on') }}
        and {{ dbt.datediff('starts_on', 'ends_on', 'day') }} < {{ longest_days }}
        and valid_from <= {{ add_days('ends_on', after_days) }}
    qualify row_number() over (
        partition by promotion_id order by valid_from desc nulls last
    ) = 1

),

known_promotions as (

    select
        promotion_id,
        starts_on,
        ends_on,
        category,
        sub_category,
        min(valid_from) as known_from
    from promotion_versions
    group by promotion_id, starts_on, ends_on, category, sub_category

),

product_units as (

    select
        country,
        business_date,
        product_id,
        {{ total_count('quantity') }} as units
    from sales
    group by country, business_date, product_id

),

-- articles that no list knew on the day are a group of their own, in promotions of everything
grouped_units as (

    select
        product_units.country,
        product_units.business_date,
        coalesce(products.category, '') as category,
        coalesce(products.sub_category, '') as sub_category,
        product_units.units
    from product_units
    left join products
        on products.product_id = product_units.product_id
        and {{ applies_on('products', 'product_units.business_date') }}

),

group_units as (

    select
        country,
        business_date,
        category,
        sub_category,
        {{ total_count('units') }} as units
    from grouped_units
    group by country, business_date, category, sub_category

),

promoted_groups as (

    select distinct
        promotions.promotion_id,
        group_units.country,
        group_units.category,
        group_units.sub_category
    from promotions
    inner join group_units
        on group_units.business_date between promotions.compared_from and promotions.compared_to
        and {{ covers('promotions', 'group_units') }}

),

-- a day on which a country sold nothing at all was closed, or its file or its rate is missing
trading_days as (

    select distinct country, business_date from group_units

),

group_days as (

    select
        {{ prefixed('promoted_groups', group) }},
        trading_days.business_date as sold_on,
        {{ iso_weekday('trading_days.business_date') }} as weekday,
        promotions.compared_to,
        case
            when trading_days.business_date < promotions.starts_on then 'baseline'
            when trading_days.business_date <= promotions.ends_on then 'promotion'
            else 'after'
        end as phase,
        coalesce(group_units.units, 0) as units
    from promoted_groups
    inner join promotions
        on promotions.promotion_id = promoted_groups.promotion_id
    inner join trading_days
        on trading_days.country = promoted_groups.country
        and trading_days.business_date between promotions.compared_from and promotions.compared_to
    left join group_units
        on group_units.country = promoted_groups.country
        and group_units.business_date = trading_days.business_date
        and group_units.category = promoted_groups.category
        and group_units.sub_category = promoted_groups.sub_category

),

other_promotions as (

    select
        {{ prefixed('group_days', group) }},
        group_days.sold_on,
        group_days.phase,
        known_promotions.promotion_id as other_promotion_id
    from group_days
    inner join known_promotions
        on group_days.sold_on between known_promotions.starts_on and known_promotions.ends_on
        and known_promotions.promotion_id <> group_days.promotion_id
        and known_promotions.known_from <= group_days.compared_to
        and {{ covers('known_promotions', 'group_days') }}

),

disturbed_days as (

    select distinct {{ group | join(', ') }}, sold_on
    from other_promotions
    where phase <> 'promotion'

),

overlapping as (

    select
        promotion_id,
        country,
        cast(count(distinct other_promotion_id) as bigint) as other_promotions
    from other_promotions
    where phase = 'promotion'
    group by promotion_id, country

),

undisturbed_days as (

    select group_days.*
    from group_days
    left join disturbed_days
        on disturbed_days.sold_on = group_days.sold_on
        {%- for column in group %}
        and disturbed_days.{{ column }} = group_days.{{ column }}
        {%- endfor %}
    where disturbed_days.sold_on is null

),

weekdays as (

    select
        undisturbed_days.*,
        {%- for phase in ('baseline', 'promotion') %}
        count(case when phase = '{{ phase }}' then 1 end) over (
            partition by {{ group | join(', ') }}, weekday
        ) as {{ phase }}_days,
        {%- endfor %}
        cast(
            sum(cast(case when phase = 'baseline' then units else 0 end as bigint)) over (
                partition by {{ group | join(', ') }}, weekday
            ) as bigint
        ) as baseline_units
    from undisturbed_days

),

-- like with like: only weekdays that the baseline has, too, and of the baseline only those that
-- the promotion has
comparable_days as (

    select
        weekdays.*,
        {{ quotient('baseline_units', 'baseline_days', 'decimal(28, 12)', 8, 'decimal(28, 8)') }}
            as expected_units
    from weekdays
    where baseline_days > 0
        and (promotion_days > 0 or phase = 'after')

),

totals as (

    select
        promotion_id,
        country,
        {%- for phase in phases %}
        cast(count(distinct case when phase = '{{ phase }}' then sold_on end) as bigint)
            as {{ phase }}_days,
        {{ total_count("case when phase = '" ~ phase ~ "' then units end") }}
            as {{ phase }}_units,
        cast(
            sum(
                cast(
                    case when phase = '{{ phase }}' then expected_units else 0 end
                    as decimal(28, 8)
                )
            ) as decimal(28, 8)
        ) as expected_{{ phase }}_units{{ ',' if not loop.last }}
        {%- endfor %}
    from comparable_days
    group by promotion_id, country

),

promoted_countries as (

    select distinct promotion_id, country from promoted_groups

),

judged as (

    select
        promotions.*,
        promoted_countries.country as promoted_country,
        coalesce(overlapping.other_promotions, 0) as other_promotions,
        {%- for phase in phases %}
        coalesce(totals.{{ phase }}_days, 0) as {{ phase }}_days,
        coalesce(totals.{{ phase }}_units, 0) as {{ phase }}_units,
        coalesce(totals.expected_{{ phase }}_units, 0) as expected_{{ phase }}_units,
        {%- endfor %}
        case
            when coalesce(totals.baseline_days, 0) < {{ least_baseline_days }}
                then 'baseline days below {{ least_baseline_days }}'
            when totals.baseline_units < {{ least_units }}
                then 'baseline units below {{ least_units }}'
            when totals.promotion_units < {{ least_units }}
                then 'promotion units below {{ least_units }}'
        end as why_no_lift
    from promoted_countries
    inner join promotions
        on promotions.promotion_id = promoted_countries.promotion_id
    left join totals
        on totals.promotion_id = promoted_countries.promotion_id
        and totals.country = promoted_countries.country
    left join overlapping
        on overlapping.promotion_id = promoted_countries.promotion_id
        and overlapping.country = promoted_countries.country

),

measured as (

    select
        judged.*,
        case
            when why_no_lift is null
                then cast(promotion_units as double) / cast(expected_promotion_units as double)
        end as ratio,
        case
            when why_no_lift is null
                then {{ z_of_95_percent() }} * sqrt(
                    1 / cast(promotion_units as double) + 1 / cast(baseline_units as double)
                )
        end as half_width_of_log
    from judged

)

select
    ---------- slice
    promoted_country as country,
    ends_on as business_date,

    ---------- promotion
    promotion_id,
    starts_on,
    category,
    sub_category,
    description,
    discount_rate,
    other_promotions,

    ---------- what was sold
    baseline_days,
    baseline_units,
    promotion_days,
    promotion_units,
    cast(round(expected_promotion_units, 2) as decimal(18, 2)) as expected_units,

    ---------- effect
    case
        when why_no_lift is null
            then cast(round(promotion_units - expected_promotion_units, 2) as decimal(18, 2))
    end as incremental_units,
    {{ estimate('ratio - 1') }} as lift_rate,
    {{ estimate('exp(ln(ratio) - half_width_of_log) - 1') }} as lift_rate_lower_95,
    {{ estimate('exp(ln(ratio) + half_width_of_log) - 1') }} as lift_rate_upper_95,
    why_no_lift,

    ---------- the days after
    after_days,
    after_units,
    cast(round(expected_after_units, 2) as decimal(18, 2)) as expected_after_units,
    case
        when why_no_lift is null
            then {{ rate_of('after_units - expected_after_units', 'expected_after_units') }}
    end as after_change_rate
from measured
{{ in_slice_order() }}
