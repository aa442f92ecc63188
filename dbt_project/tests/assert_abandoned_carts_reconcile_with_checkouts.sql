{{ config(severity='error', meta={'dagster': {'ref': {'name': 'rpt_abandoned_carts'}}}) }}

-- Fails: the report, the fact and the checkouts disagree about how many were begun in a country on
-- a day. A day that is blocked for a missing rate is in none of the totals; that such a day is
-- missing is for assert_no_checkout_day_without_fx_rate to say.

with

checkouts as (

    select * from {{ ref('int_online_checkouts') }}
    where {{ in_slices('country', 'business_date') }}

),

fx_rates as (

    select * from {{ ref('int_fx_rates') }}
    where {{ in_slices(none, 'business_date') }}

),

expected as (

    select
        checkouts.country,
        checkouts.business_date,
        count(*) as checkouts
    from checkouts
    left join fx_rates
        on fx_rates.business_date = checkouts.business_date
        and fx_rates.currency_code = checkouts.currency_code
    group by checkouts.country, checkouts.business_date
    having
        count(case when checkouts.currency_code = 'EUR' then 1 else fx_rates.eur_rate end)
        = count(*)

),

facts as (

    select
        country,
        business_date,
        count(*) as checkouts,
        {{ total('case when is_recovered then subtotal_amount_eur end') }} as recovered_revenue_eur
    from {{ ref('fct_checkouts') }}
    where {{ in_slices('country', 'business_date') }}
    group by country, business_date

),

reported as (

    select
        country,
        business_date,
        sum(created_checkouts) as checkouts,
        {{ total('recovered_revenue_eur') }} as recovered_revenue_eur
    from {{ ref('rpt_abandoned_carts') }}
    where {{ in_slices('country', 'business_date') }}
    group by country, business_date

)

select
    coalesce(expected.country, facts.country, reported.country) as country,
    coalesce(expected.business_date, facts.business_date, reported.business_date) as business_date,
    expected.checkouts as expected_checkouts,
    facts.checkouts as fact_checkouts,
    reported.checkouts as reported_checkouts,
    facts.recovered_revenue_eur as fact_recovered_revenue_eur,
    reported.recovered_revenue_eur as reported_recovered_revenue_eur
from expected
full outer join facts
    on facts.country = expected.country
    and facts.business_date = expected.business_date
full outer join reported
    on reported.country = coalesce(expected.country, facts.country)
    and reported.business_date = coalesce(expected.business_date, facts.business_date)
where expected.country is null
    or facts.country is null
    or reported.country is null
    or expected.checkouts <> facts.checkouts
    or facts.checkouts <> reported.checkouts
    or facts.recovered_revenue_eur <> reported.recovered_revenue_eur
