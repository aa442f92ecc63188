{{ config(tags=['business_day', 'country']) }}

with

order_lines as (

    select * from {{ ref('int_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

fx_rates as (

    select * from {{ ref('int_fx_rates') }}
    where {{ in_slices(none, 'business_date') }}

),

priced_lines as (

    select
        order_lines.*,
        {{ eur_rate_of('order_lines') }} as eur_rate,
        -- signed so that gross minus discount is net on every line, returns included
        cast(
            order_lines.unit_price_local * order_lines.quantity
            * case when order_lines.is_return then -1 else 1 end
            as decimal(18, 2)
        ) as gross_amount_local
    from order_lines
    left join fx_rates
        on fx_rates.business_date = order_lines.business_date
        and fx_rates.currency_code = order_lines.currency_code

),

publishable_lines as (

    {{ on_days_with_all_rates('priced_lines') }}

)

select
    ---------- slice
    country,
    business_date,
    sold_at,

    ---------- ids
    channel,
    line_source,
    invoice_id,
    line,
    sale_invoice_id,
    transaction_type,
    customer_id,
    product_id,
    store_key,
    employee_id,

    ---------- text
    size,
    color,
    sku,
    payment_method,

    ---------- numerics
    quantity,
    cast(case when is_return then -quantity else quantity end as integer) as signed_quantity,
    unit_price_local,
    discount_rate,
    gross_amount_local,
    cast(gross_amount_local - net_amount_local as decimal(18, 2)) as discount_amount_local,
    net_amount_local,
    currency_code,
    eur_rate,
    {{ to_eur('net_amount_local', 'eur_rate') }} as net_amount_eur,
    {{ to_eur('gross_amount_local', 'eur_rate') }} as gross_amount_eur
from publishable_lines
{{ in_slice_order() }}
