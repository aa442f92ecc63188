{%- set key = ['country', 'stock_id'] -%}
{{ config(
    tags=['batch_day', 'country'],
    incremental_strategy='replace_keys',
    unique_key=key,
    meta={'slice_day': 'batch_date'},
) }}

-- Computed from all staged positions of the stock rows that a run touches, so that files may arrive
-- in any order and any number of times. Every position stays a row, also one that changes nothing
-- and one that deletes: whatever a corrected file takes away was started by a row of that batch,
-- and is found by it.

with

staged as (

    select * from {{ ref('stg_stock_cdc') }}

),

positions_of_touched_rows as (

    select * from staged
    {%- if is_incremental() and is_sliced() %}
    where exists (
        select 1
        from (
            select {{ key | join(', ') }}
            from staged
            where {{ in_slices('country', 'batch_date') }}
            union
            select {{ key | join(', ') }}
            from {{ this }}
            where {{ in_slices('country', 'batch_date') }}
        ) as touched
        where
        {%- for column in key %}
            {{ 'and ' if not loop.first }}touched.{{ column }} = staged.{{ column }}
        {%- endfor %}
    )
    {%- endif %}

),

newest as (

    {{ newest_versions(
        'positions_of_touched_rows',
        key=['country', 'stock_id', 'lsn', 'is_full_load'],
        newest_first=['batch_date', 'delivered_at', 'source_file', 'row_number'],
    ) }}

),

in_log_order as (

    select
        newest.*,
        lead(newest.committed_at) over (
            partition by newest.country, newest.stock_id
            -- a full load at the position of a change was read before it
            order by
                newest.lsn asc nulls last,
                case when newest.is_full_load then 0 else 1 end asc nulls last
        ) as next_committed_at
    from newest

)

select
    country,
    stock_id,
    lsn,
    is_full_load,
    op,
    store_id,
    product_id,
    size,
    bin,
    on_hand,
    reserved,
    reorder_point,
    safety_stock,
    unit_cost_local,
    currency_code,
    is_deleted,
    committed_at as valid_from,
    next_committed_at as valid_to,
    next_committed_at is null as is_current,
    batch_date
from in_log_order
{{ in_slice_order() }}
