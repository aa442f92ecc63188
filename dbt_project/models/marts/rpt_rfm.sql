{%- set days = 365 -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {'fct_customer_behavior': {'days_before': days - 1}}},
) }}

with

closing_days as (

    {{ closing_days(ref('fct_customer_behavior'), 'retail_week') }}

),

-- most runs close no week, and are spared the year before
customer_days as (

    select * from {{ ref('fct_customer_behavior') }}
    where {{ in_window('fct_customer_behavior', 'country', 'business_date') }}
        and country in (select closing_days.country from closing_days)

),

buyers as (

    select
        closing_days.country,
        closing_days.business_date,
        customer_days.customer_id,
        max(case when customer_days.sale_invoices > 0 then customer_days.business_date end)
            as last_purchase_date,
        cast(sum(customer_days.sale_invoices) as bigint) as frequency,
        {{ total('customer_days.net_sales_eur') }} as monetary_eur
    from closing_days
    inner join customer_days
        on customer_days.country = closing_days.country
        and customer_days.business_date
        between {{ add_days('closing_days.business_date', 1 - days) }}
        and closing_days.business_date
    group by closing_days.country, closing_days.business_date, customer_days.customer_id
    -- who only took things back is no buyer of these days
    having sum(customer_days.sale_invoices) > 0

),

ranked as (

    select
        buyers.*,
        cast({{ dbt.datediff('last_purchase_date', 'business_date', 'day') }} as integer)
            as recency_days,
        count(*) over (partition by country, business_date) as buyer_count,
        rank() over (
            partition by country, business_date order by last_purchase_date asc nulls last
        ) - 1 as bought_longer_ago,
        rank() over (
            partition by country, business_date order by frequency asc nulls last
        ) - 1 as bought_less_often,
        rank() over (
            partition by country, business_date order by monetary_eur asc nulls last
        ) - 1 as spent_less
    from buyers

),

scored as (

    select
        ranked.*,
        {{ fifth_of('bought_longer_ago', 'buyer_count') }} as recency_score,
        {{ fifth_of('bought_less_often', 'buyer_count') }} as frequency_score,
        {{ fifth_of('spent_less', 'buyer_count') }} as monetary_score
    from ranked

)

select
    country,
    business_date,
    customer_id,
    last_purchase_date,
    recency_days,
    frequency,
    monetary_eur,
    recency_score,
    frequency_score,
    monetary_score,
    -- every branch says all it asks for: read in any order, exactly one of them holds
    case
        when recency_score >= 4 and frequency_score >= 4 then 'Champions'
        when recency_score >= 4 and frequency_score between 2 and 3 then 'Potential loyalist'
        when recency_score >= 4 and frequency_score = 1 then 'New'
        when recency_score = 3 and frequency_score >= 4 then 'Loyal'
        when recency_score = 3 and frequency_score <= 3 then 'Needs attention'
        when recency_score <= 2 and frequency_score >= 3 then 'At risk'
        when recency_score = 2 and frequency_score <= 2 then 'Hibernating'
        when recency_score = 1 and frequency_score <= 2 then 'Lost'
    end as segment
from scored
{{ in_slice_order() }}
