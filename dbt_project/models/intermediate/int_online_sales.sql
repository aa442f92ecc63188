{%- set document = ['country', 'business_date', 'invoice_id'] -%}
{{ config(tags=['business_day', 'country']) }}

-- The web shop's documents as lines: an order is a sale on the day it was placed, a refund a return
-- on the day the money went back. The document says what was paid, its lines say for what: that
-- amount is spread over the lines by their value, to the cent.

with

orders as (

    select * from {{ ref('int_online_orders') }}
    where {{ in_slices('country', 'business_date') }}
        -- never paid: tried out, or given back before the money was taken
        and not is_test
        and coalesce(financial_status, '') <> 'voided'

),

refunds as (

    select * from {{ ref('int_online_refunds') }}
    where {{ in_slices('country', 'business_date') }}
        -- goods may come back, and payments fail, without money going out
        and amount_local > 0
        and coalesce(transaction_status, 'success') = 'success'

),

documents as (

    select
        country,
        business_date,
        'order/' || cast(order_id as varchar) as invoice_id,
        cast(null as varchar) as sale_invoice_id,
        'Sale' as transaction_type,
        false as is_return,
        customer_id,
        currency_code,
        subtotal_amount_local as amount_local,
        line_items,
        created_at_local as sold_at,
        batch_date,
        file_id,
        row_number
    from orders

    union all

    select
        country,
        business_date,
        'refund/' || cast(refund_id as varchar) as invoice_id,
        'order/' || cast(order_id as varchar) as sale_invoice_id,
        'Return' as transaction_type,
        true as is_return,
        cast(null as bigint) as customer_id,
        currency_code,
        amount_local,
        refund_line_items as line_items,
        created_at_local as sold_at,
        batch_date,
        file_id,
        row_number
    from refunds

),

items as (

    -- a line of an order; in a refund the same one stands below the line that takes it back
    {{ json_objects('documents', document, 'line_items', {
        'quantity': 'quantity',
        'product_id': 'product_id',
        'sku': 'sku',
        'size': 'variant_title',
        'price': 'price',
        'refunded_product_id': 'line_item.product_id',
        'refunded_sku': 'line_item.sku',
        'refunded_size': 'line_item.variant_title',
        'refunded_price': 'line_item.price',
    }) }}

),

lines as (

    select
        documents.*,
        -- a document without lines is one line about nothing in particular
        cast(coalesce(items.position, 1) as integer) as line,
        {{ dbt.safe_cast('coalesce(items.product_id, items.refunded_product_id)', 'bigint') }}
            as product_id,
        {{ clean_text('coalesce(items.sku, items.refunded_sku)') }} as sku,
        {{ clean_text('coalesce(items.size, items.refunded_size)') }} as size,
        coalesce({{ dbt.safe_cast('items.quantity', 'integer') }}, 1) as quantity,
        coalesce(
            {{ dbt.safe_cast('coalesce(items.price, items.refunded_price)', 'decimal(18, 2)') }},
            case when items.position is null then documents.amount_local else 0 end
        ) as unit_price_local
    from documents
    left join items
        on items.country = documents.country
        and items.business_date = documents.business_date
        and items.invoice_id = documents.invoice_id

),

valued_lines as (

    select
        lines.*,
        cast(unit_price_local * quantity as decimal(18, 2)) as value_local
    from lines

),

values_so_far as (

    select
        valued_lines.*,
        {{ so_far('value_local', document, 'line', 'decimal(18, 2)') }} as value_so_far_local,
        cast(
            sum(value_local) over (partition by {{ document | join(', ') }}) as decimal(18, 2)
        ) as document_value_local,
        row_number() over (
            partition by {{ document | join(', ') }} order by line desc nulls last
        ) = 1 as is_last_line
    from valued_lines

),

shares_so_far as (

    select
        values_so_far.*,
        -- the last line takes what is left, so that the lines add up to what was paid
        case
            when is_last_line then amount_local
            else coalesce({{ amount_per(
                'cast(amount_local as decimal(19, 2)) * cast(value_so_far_local as decimal(19, 2))',
                'document_value_local',
            ) }}, 0)
        end as share_so_far_local
    from values_so_far

),

paid_lines as (

    select
        shares_so_far.*,
        cast(
            share_so_far_local - coalesce(lag(share_so_far_local) over (
                partition by {{ document | join(', ') }} order by line asc nulls last
            ), 0)
            as decimal(18, 2)
        ) as paid_local
    from shares_so_far

)

select
    ---------- slice
    country,
    business_date,

    ---------- ids
    invoice_id,
    line,
    sale_invoice_id,
    transaction_type,
    is_return,
    customer_id,
    product_id,

    ---------- text
    size,
    sku,
    currency_code,

    ---------- numerics
    quantity,
    unit_price_local,
    case
        when paid_local between 0 and value_local and value_local > 0
            then cast({{ share_of('value_local - paid_local', 'value_local') }} as decimal(5, 4))
        else cast(0 as decimal(5, 4))
    end as discount_rate,
    cast(case when is_return then -paid_local else paid_local end as decimal(18, 2))
        as net_amount_local,

    ---------- timestamps
    sold_at,

    ---------- delivery
    batch_date,
    file_id,
    row_number
from paid_lines
{{ in_slice_order() }}
