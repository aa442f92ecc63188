{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'stock_cdc') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,

        ---------- ids
        cast(stock_id as bigint) as stock_id,
        cast(lsn as bigint) as lsn,
        coalesce({{ clean_code('op') }}, 'L') as op,
        cast(store_id as bigint) as store_id,
        cast(product_id as bigint) as product_id,

        ---------- text
        {{ clean_text('size') }} as size,
        {{ clean_text('bin') }} as bin,
        {{ clean_code('currency') }} as currency_code,

        ---------- booleans
        op is null as is_full_load,
        coalesce({{ clean_code('op') }} = 'D', false) as is_deleted,

        ---------- numerics
        cast(on_hand as integer) as on_hand,
        cast(reserved as integer) as reserved,
        cast(reorder_point as integer) as reorder_point,
        cast(safety_stock as integer) as safety_stock,
        cast(unit_cost as decimal(18, 4)) as unit_cost_local,

        ---------- timestamps
        cast(committed_at as timestamp) as committed_at,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'stock_id', 'lsn', 'is_full_load']) }}

)

select * from newest
