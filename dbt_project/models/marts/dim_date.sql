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
        cast(extract(month from business_date) as integer) as calendar_month,
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
        {{ retail_year_start('retail_year') }} as retail_year_start,
        {{ retail_year_start('retail_year + 1') }} as next_retail_year_start
    from anchors

),

weeks as (

    select
        years.*,
        floor(
            {{ dbt.datediff(date_in_year('iso_year', '01-01'), 'thursday', 'day') }} / 7
        ) + 1 as iso_week,
        floor({{ dbt.datediff('retail_year_start', 'business_date', 'day') }} / 7) + 1
            as retail_week,
        {{ add_days('business_date', '-mod(weekday, 7)') }} as retail_week_start,
        {{ dbt.datediff('retail_year_start', 'next_retail_year_start', 'day') }} > 364
            as has_53_weeks
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

quarter_weeks as (

    select
        retail_quarters.*,
        retail_week - (retail_quarter - 1) * 13 as week_of_quarter
    from retail_quarters

),

retail_months as (

    select
        quarter_weeks.*,
        case
            when week_of_quarter <= 4 then 1
            when week_of_quarter <= 9 then 2
            else 3
        end as month_of_quarter
    from quarter_weeks

),

restated as (

    select
        retail_months.*,
        -- a year of 53 weeks is laid over the one after it without its first week
        case
            when has_53_weeks then nullif(retail_week - 1, 0)
            else retail_week
        end as restated_retail_week
    from retail_months

),

public_holidays as (

    select
        cast(listed.country as varchar) as country,
        cast(listed.business_date as date) as business_date,
        cast(listed.public_holiday_name as varchar) as public_holiday_name
    from {{ public_holidays() }} as listed (country, business_date, public_holiday_name)

)

select
    restated.country,
    restated.business_date,
    restated.calendar_year,
    cast(extract(quarter from restated.business_date) as integer) as calendar_quarter,
    restated.calendar_month,
    {{ name_of_month('restated.calendar_month') }} as month_name,
    cast(extract(day from restated.business_date) as integer) as day_of_month,
    cast(restated.iso_year as integer) as iso_year,
    cast(restated.iso_week as integer) as iso_week,
    cast(restated.weekday as integer) as weekday,
    {{ name_of_weekday('restated.weekday') }} as day_name,
    restated.weekday >= 6 as is_weekend,
    cast(restated.retail_year as integer) as retail_year,
    cast(restated.retail_quarter as integer) as retail_quarter,
    cast((restated.retail_quarter - 1) * 3 + restated.month_of_quarter as integer)
        as retail_month,
    cast(restated.retail_week as integer) as retail_week,
    cast(
        restated.week_of_quarter
        - case restated.month_of_quarter when 1 then 0 when 2 then 4 else 9 end
        as integer
    ) as retail_week_of_month,
    restated.retail_year_start,
    restated.retail_week_start,
    cast(
        case when restated.restated_retail_week is not null then restated.retail_year end
        as integer
    ) as restated_retail_year,
    cast(restated.restated_retail_week as integer) as restated_retail_week,
    -- 52 weeks back lies the same week of the year before, restated if that one had 53
    case
        when restated.retail_week <= 52
            then {{ add_days('restated.business_date', -364) }}
    end as comparable_date,
    public_holidays.public_holiday_name,
    case
        when {{ knows_public_holidays('restated.country', 'restated.calendar_year') }}
            then public_holidays.public_holiday_name is not null
    end as is_public_holiday
from restated
left join public_holidays
    on public_holidays.country = restated.country
    and public_holidays.business_date = restated.business_date
{{ in_slice_order() }}
