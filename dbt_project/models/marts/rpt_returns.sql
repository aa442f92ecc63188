{%- set days = 60 -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {'fct_sales': {'days_after': days}}},
) }}

-- Two rates are in use, and they answer different questions: what came back on a day against what
-- was sold on it, and how much of what was sold on a day came back at all.

with

sales_lines as (

    select * from {{ ref('fct_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

returns_since as (

    select
        country,
        business_date,
        channel,
        sale_invoice_id,
        quantity,
        net_amount_local,
        net_amount_eur
    from {{ ref('fct_sales') }}
    where {{ in_window('fct_sales', 'country', 'business_date') }}
        and transaction_type = 'Return'

),

totals as (

    select
        country,
        business_date,
        channel,
        currency_code,
        {{ total_count("case when transaction_type = 'Sale' then quantity end") }} as units_sold,
        {{ total_count("case when transaction_type = 'Return' then quantity end") }}
            as units_returned,
        {{ total("case when transaction_type = 'Sale' then net_amount_local end") }}
            as sales_local,
        {{ total("case when transaction_type = 'Sale' then net_amount_eur end") }} as sales_eur,
        {{ total("case when transaction_type = 'Return' then -net_amount_local end") }}
            as returns_local,
        {{ total("case when transaction_type = 'Return' then -net_amount_eur end") }}
            as returns_eur
    from sales_lines
    group by country, business_date, channel, currency_code

),

receipts as (

    select distinct
        country,
        business_date,
        channel,
        currency_code,
        invoice_id
    from sales_lines
    where transaction_type = 'Sale'

),

taken_back as (

    select
        receipts.country,
        receipts.business_date,
        receipts.channel,
        receipts.currency_code,
        {{ total_count('returns_since.quantity') }} as units,
        {{ total('-returns_since.net_amount_local') }} as amount_local,
        {{ total('-returns_since.net_amount_eur') }} as amount_eur
    from receipts
    inner join returns_since
        on returns_since.country = receipts.country
        and returns_since.channel = receipts.channel
        and returns_since.sale_invoice_id = receipts.invoice_id
        and returns_since.business_date between receipts.business_date
        and {{ add_days('receipts.business_date', days) }}
    group by
        receipts.country, receipts.business_date, receipts.channel, receipts.currency_code

),

of_period_and_sales as (

    select
        totals.*,
        cast(coalesce(taken_back.units, 0) as bigint) as units_of_sales_returned,
        cast(coalesce(taken_back.amount_local, 0) as decimal(18, 2)) as sales_returned_local,
        cast(coalesce(taken_back.amount_eur, 0) as decimal(18, 2)) as sales_returned_eur
    from totals
    left join taken_back
        on taken_back.country = totals.country
        and taken_back.business_date = totals.business_date
        and taken_back.channel = totals.channel
        and taken_back.currency_code = totals.currency_code

)

select
    country,
    business_date,
    channel,
    currency_code,
    units_sold,
    sales_local,
    sales_eur,
    units_returned,
    returns_local,
    returns_eur,
    {{ rate_of('returns_local', 'sales_local') }} as return_rate_of_period,
    {{ rate_of('units_returned', 'units_sold') }} as unit_return_rate_of_period,
    units_of_sales_returned,
    sales_returned_local,
    sales_returned_eur,
    {{ rate_of('sales_returned_local', 'sales_local') }} as return_rate_of_sales,
    {{ rate_of('units_of_sales_returned', 'units_sold') }} as unit_return_rate_of_sales
from of_period_and_sales
{{ in_slice_order() }}
