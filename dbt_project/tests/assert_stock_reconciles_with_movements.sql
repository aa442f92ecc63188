{{ config(severity='error', meta={'dagster': {'ref': {'name': 'fct_inventory_daily'}}}) }}

-- Fails: the movements of a country and day are not as many in staging, in their fact and in the
-- daily stock, or the stock of all shops is not the sum of all movements up to the day. A day that
-- is blocked for a missing rate is left out here too; that such a day is missing is for
-- assert_no_inventory_day_without_fx_rate to say.

with

staged as (

    select
        country,
        business_date,
        count(distinct movement_id) as movements
    from {{ ref('stg_inventory_movements') }}
    where {{ in_slices('country', 'business_date') }}
    group by country, business_date

),

daily_movements as (

    select
        country,
        business_date,
        {{ total_count('quantity') }} as units
    from {{ ref('int_inventory_movements') }}
    where {{ in_slices('country', 'business_date', lead_days='all') }}
    group by country, business_date

),

balances as (

    select
        country,
        business_date,
        units,
        {{ so_far('units', ['country'], 'business_date') }} as closing_units
    from daily_movements

),

blocked as (

    {{ currencies_without_rate(ref('int_inventory_movements')) }}

),

expected as (

    select
        staged.country,
        staged.business_date,
        staged.movements,
        balances.units,
        balances.closing_units
    from staged
    left join balances
        on balances.country = staged.country
        and balances.business_date = staged.business_date
    where not exists (
        select 1
        from blocked
        where blocked.country = staged.country
            and blocked.business_date = staged.business_date
    )

),

facts as (

    select
        country,
        business_date,
        count(*) as movements,
        {{ total_count('signed_quantity') }} as units
    from {{ ref('fct_inventory_movements') }}
    where {{ in_slices('country', 'business_date') }}
    group by country, business_date

),

stock as (

    select
        country,
        business_date,
        {{ total_count('movements') }} as movements,
        {{ total_count('closing_units - opening_units') }} as units,
        {{ total_count('closing_units') }} as closing_units
    from {{ ref('fct_inventory_daily') }}
    where {{ in_slices('country', 'business_date') }}
    group by country, business_date

)

select
    coalesce(expected.country, facts.country, stock.country) as country,
    coalesce(expected.business_date, facts.business_date, stock.business_date) as business_date,
    expected.movements as expected_movements,
    facts.movements as fact_movements,
    stock.movements as stock_movements,
    expected.units as expected_units,
    facts.units as fact_units,
    stock.units as stock_units,
    expected.closing_units as expected_closing_units,
    stock.closing_units as stock_closing_units
from expected
full outer join facts
    on facts.country = expected.country
    and facts.business_date = expected.business_date
full outer join stock
    on stock.country = coalesce(expected.country, facts.country)
    and stock.business_date = coalesce(expected.business_date, facts.business_date)
where expected.country is null
    or facts.country is null
    or stock.country is null
    or expected.movements <> facts.movements
    or expected.movements <> stock.movements
    or expected.units <> facts.units
    or expected.units <> stock.units
    or expected.closing_units <> stock.closing_units
