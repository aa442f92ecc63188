{%- set item = ['country', 'business_date', 'channel', 'product_id'] -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'dim_product': {'days_before': 'all', 'days_after': var('lookback_days') - 1},
    }},
) }}

-- An article is what its version of the day says, which is one that came on the day or before it,
-- or the first one within the lookback: a file that comes late changes the days from its batch date
-- on, one that brings a new article also the six before.

with

sales_lines as (

    select * from {{ ref('fct_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

product_versions as (

    select * from {{ ref('dim_product') }}
    where {{ in_window('dim_product', none, 'valid_from') }}

),

usd_rates as (

    select * from {{ ref('int_fx_rates') }}
    where {{ in_slices(none, 'business_date') }}
        and currency_code = 'USD'

),

totals as (

    select
        {{ item | join(', ') }},
        {{ total_count("case when transaction_type = 'Sale' then quantity end") }} as units_sold,
        {{ total_count("case when transaction_type = 'Return' then quantity end") }}
            as units_returned,
        {{ total_count('signed_quantity') }} as net_units,
        {{ total("case when transaction_type = 'Sale' then gross_amount_eur end") }}
            as gross_sales_eur,
        {{ total(
            "case when transaction_type = 'Sale' then gross_amount_eur - net_amount_eur end"
        ) }} as discounts_eur,
        {{ total("case when transaction_type = 'Return' then -net_amount_eur end") }}
            as returns_eur,
        {{ total('net_amount_eur') }} as net_sales_eur
    from sales_lines
    group by {{ item | join(', ') }}

),

costed_totals as (

    select
        totals.*,
        product_versions.category,
        product_versions.sub_category,
        -- null without a version or a rate: a cost of nothing would be a margin that looks right
        {{ to_eur(
            'product_versions.production_cost_usd * cast(totals.net_units as decimal(18, 0))',
            'usd_rates.eur_rate',
        ) }} as cost_of_goods_sold_eur
    from totals
    left join product_versions
        on product_versions.product_id = totals.product_id
        and {{ applies_on('product_versions', 'totals.business_date') }}
    left join usd_rates
        on usd_rates.business_date = totals.business_date

),

margins as (

    select
        costed_totals.*,
        cast(net_sales_eur - cost_of_goods_sold_eur as decimal(18, 2)) as gross_margin_eur
    from costed_totals

)

select
    country,
    business_date,
    channel,
    product_id,
    category,
    sub_category,
    units_sold,
    units_returned,
    gross_sales_eur,
    discounts_eur,
    returns_eur,
    net_sales_eur,
    cost_of_goods_sold_eur,
    gross_margin_eur,
    {{ rate_of('gross_margin_eur', 'net_sales_eur') }} as gross_margin_rate
from margins
{{ in_slice_order() }}
