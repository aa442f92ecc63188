{%- set shop = ['country', 'business_date', 'channel', 'store_key'] -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'dim_store': {'days_before': 'all', 'days_after': var('lookback_days') - 1},
    }},
) }}

-- A shop is what its version of the day says, which is one that came on the day or before it, or
-- the first one within the lookback.

with

sales_lines as (

    select * from {{ ref('fct_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

store_versions as (

    select * from {{ ref('dim_store') }}
    where {{ in_window('dim_store', 'country', 'valid_from') }}

),

country_totals as (

    select
        country,
        business_date,
        {{ total('net_amount_eur') }} as net_sales_eur
    from sales_lines
    group by country, business_date

),

store_totals as (

    select
        {{ shop | join(', ') }},
        cast(count(distinct case when transaction_type = 'Sale' then invoice_id end) as bigint)
            as transactions,
        cast(count(distinct case when transaction_type = 'Return' then invoice_id end) as bigint)
            as return_transactions,
        cast(count(distinct case when transaction_type = 'Sale' then employee_id end) as bigint)
            as selling_employees,
        {{ total_count("case when transaction_type = 'Sale' then quantity end") }} as units_sold,
        {{ total_count("case when transaction_type = 'Return' then quantity end") }}
            as units_returned,
        {{ total("case when transaction_type = 'Sale' then net_amount_eur end") }} as sales_eur,
        {{ total("case when transaction_type = 'Return' then -net_amount_eur end") }}
            as returns_eur,
        {{ total('net_amount_eur') }} as net_sales_eur
    from sales_lines
    where store_key is not null  -- the web shop is none of the shops
    group by {{ shop | join(', ') }}

),

ranked_stores as (

    select
        store_totals.*,
        store_versions.store_name,
        store_versions.city,
        store_versions.number_of_employees,
        country_totals.net_sales_eur as country_net_sales_eur,
        row_number() over (
            partition by store_totals.country, store_totals.business_date
            order by
                store_totals.net_sales_eur desc nulls last,
                store_totals.channel asc nulls last,
                store_totals.store_key asc nulls last
        ) as store_rank
    from store_totals
    inner join country_totals
        on country_totals.country = store_totals.country
        and country_totals.business_date = store_totals.business_date
    left join store_versions
        on store_versions.country = store_totals.country
        and store_versions.channel = store_totals.channel
        and store_versions.store_key = store_totals.store_key
        and {{ applies_on('store_versions', 'store_totals.business_date') }}

)

select
    ---------- slice
    country,
    business_date,

    ---------- ids
    channel,
    store_key,

    ---------- text
    store_name,
    city,

    ---------- sales and returns
    transactions,
    return_transactions,
    units_sold,
    units_returned,
    sales_eur,
    returns_eur,
    net_sales_eur,

    ---------- what a receipt is like
    {{ amount_per('sales_eur', 'transactions') }} as average_transaction_value_eur,
    {{ rate_of('units_sold', 'transactions') }} as units_per_transaction,
    {{ amount_per('sales_eur', 'units_sold') }} as average_unit_retail_eur,
    {{ rate_of('returns_eur', 'sales_eur') }} as return_rate_of_period,

    ---------- productivity
    number_of_employees,
    selling_employees,
    {{ amount_per('net_sales_eur', 'number_of_employees') }} as net_sales_per_employee_eur,
    {{ rate_of('net_sales_eur', 'country_net_sales_eur') }} as share_of_country_net_sales,
    cast(store_rank as integer) as store_rank
from ranked_stores
{{ in_slice_order() }}
