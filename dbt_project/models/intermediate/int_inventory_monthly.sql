{%- set item = ['country', 'currency_code', 'store_id', 'product_id', 'size'] -%}
{%- set sums = {
    'closing_units': 'bigint',
    'received_units': 'bigint',
    'received_cost_local': 'decimal(18, 2)',
    'moved_units': 'bigint',
    'moved_cost_local': 'decimal(18, 2)',
} -%}
{{ config(
    tags=['business_day', 'country'],
    meta={'reads': {
        'int_inventory_movements': {'days_before': 'all'},
        'int_inventory_monthly': {'days_before': 'all'},
    }},
) }}

-- Carries itself on: what moved until a month end is what moved until the one before, and in the
-- month. Who changes what a column means rebuilds all days.

with

closing_days as (

    {{ closing_days(ref('int_inventory_movements'), 'month') }}

),

{% if is_incremental() -%}

carried as (

    {{ carried_rows('int_inventory_monthly') }}

),

{% endif -%}

movements as (

    {{ rows_since_carried('int_inventory_movements', 'carried' if is_incremental()) }}

),

dated_movements as (

    select
        movements.*,
        {{ last_day_of('month', 'business_date') }} as closing_date
    from movements
    -- most runs close no month, and are spared the rest
    where country in (select closing_days.country from closing_days)

),

last_receipts as (

    select * from dated_movements
    where movement_type = 'receipt'
        and supplier_id is not null
    qualify row_number() over (
        partition by {{ item | join(', ') }}, closing_date
        order by
            business_date desc nulls last,
            moved_at desc nulls last,
            movement_id desc nulls last
    ) = 1

),

item_months as (

    select
        {{ item | join(', ') }},
        closing_date,
        {{ total_count('quantity') }} as closing_units,
        {{ total_count("case when movement_type = 'receipt' then quantity end") }}
            as received_units,
        {{ total("case when movement_type = 'receipt' then cost_amount_local end") }}
            as received_cost_local,
        {{ total_count('abs(quantity)') }} as moved_units,
        {{ total('abs(cost_amount_local)') }} as moved_cost_local
    from dated_movements
    group by {{ item | join(', ') }}, closing_date

),

items_until as (

    select
        item_months.*,
        last_receipts.supplier_id,
        last_receipts.business_date as last_receipt_date
    from item_months
    left join last_receipts
        on last_receipts.closing_date = item_months.closing_date
        and {{ same_or_null('last_receipts', 'item_months', item) }}
    {%- if is_incremental() %}

    union all

    select
        {{ item | join(', ') }},
        business_date as closing_date,
        {{ sums.keys() | join(', ') }},
        supplier_id,
        last_receipt_date
    from carried
    {%- endif %}

),

items as (

    select
        closing_days.business_date,
        {{ prefixed('items_until', item) }},
        {%- for name, type in sums.items() %}
        cast(sum(items_until.{{ name }}) as {{ type }}) as {{ name }},
        {%- endfor %}
        max_by(items_until.supplier_id, items_until.last_receipt_date) as supplier_id,
        max(items_until.last_receipt_date) as last_receipt_date
    from closing_days
    inner join items_until
        on items_until.country = closing_days.country
        and items_until.closing_date <= closing_days.business_date
    group by closing_days.business_date, {{ prefixed('items_until', item) }}

)

select
    country,
    business_date,
    store_id,
    product_id,
    size,
    currency_code,
    closing_units,
    received_units,
    received_cost_local,
    moved_units,
    moved_cost_local,
    supplier_id,
    last_receipt_date
from items
{{ in_slice_order() }}
