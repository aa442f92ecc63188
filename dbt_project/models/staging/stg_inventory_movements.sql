{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'inventory_movements') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,
        cast(moved_at as date) as business_date,

        ---------- ids
        {{ clean_text('movement_id') }} as movement_id,
        {{ clean_text('movement_type') }} as movement_type,
        cast(store_id as bigint) as store_id,
        cast(product_id as bigint) as product_id,
        {{ clean_text('supplier_id') }} as supplier_id,
        cast(counterpart_store_id as bigint) as counterpart_store_id,
        {{ clean_text('reference') }} as reference,

        ---------- text
        {{ clean_text('size') }} as size,
        {{ clean_code('currency') }} as currency_code,

        ---------- numerics
        cast(quantity as integer) as quantity,
        cast(unit_cost as decimal(18, 4)) as unit_cost_local,
        cast(round(quantity * cast(unit_cost as decimal(18, 4)), 2) as decimal(18, 2))
            as cost_amount_local,

        ---------- timestamps
        cast(moved_at as timestamp) as moved_at,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions('typed', key=['country', 'batch_date', 'movement_id']) }}

)

select * from newest
