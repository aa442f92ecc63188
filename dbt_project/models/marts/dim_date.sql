{{ config(tags=['business_day', 'country']) }}

with

trading_days as (

    select distinct country, business_date
    from {{ ref('int_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

weekdays as (

    select
        country,
        business_date,
        {{ year_of('business_date') }} as calendar_year,
        {{ iso_weekday('business_date') }} as weekday
    from trading_days

),

anchors as (

    select
        weekdays.*,
        -- an ISO week belongs to the year of its Thursday
        {{ add_days('business_date', '(4 - weekday)') }} as thursday,
        case
            when business_date >= {{ retail_year_start('calendar_year') }} then calendar_year
            else calendar_year - 1
        end as retail_year
    from weekdays

),

years as (

    select
        anchors.*,
        {{ year_of('thursday') }} as iso_year,
        {{ retail_year_start('retail_year') }} as retail_year_start
    from anchors

),

weeks as (

    select
        years.*,
        floor(
            {{ dbt.datediff(date_in_year('iso_year', '01-01'), 'thursday', 'day') }} / 7
        ) + 1 as iso_week,
        floor({{ dbt.datediff('retail_year_start', 'business_date', 'day') }} / 7) + 1
            as retail_week
    from years

),

retail_quarters as (

    select
        weeks.*,
        -- week 53 closes the last quarter
        case
            when retail_week > 52 then 4
            else floor((retail_week - 1) / 13) + 1
        end as retail_quarter
    from weeks

),

retail_months as (

    select
        retail_quarters.*,
        (retail_quarter - 1) * 3
        + case
            when retail_week - (retail_quarter - 1) * 13 <= 4 then 1
            when retail_week - (retail_quarter - 1) * 13 <= 9 then 2
            else 3
        end as retail_month
    from retail_quarters

)

select
    country,
    business_date,
    cast(calendar_year as integer) as calendar_year,
    cast(extract(quarter from business_date) as integer) as calendar_quarter,
    cast(extract(month from business_date) as integer) as calendar_month,
    cast(extract(day from business_date) as integer) as day_of_month,
    cast(iso_year as integer) as iso_year,
    cast(iso_week as integer) as iso_week,
    cast(weekday as integer) as weekday,
    weekday >= 6 as is_weekend,
    cast(retail_year as integer) as retail_year,
    cast(retail_quarter as integer) as retail_quarter,
    cast(retail_month as integer) as retail_month,
    cast(retail_week as integer) as retail_week
from retail_months
{{ in_slice_order() }}
