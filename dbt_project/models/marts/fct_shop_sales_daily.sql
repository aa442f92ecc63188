{%- set total_of = ['country', 'business_date', 'channel', 'currency_code', 'store_key'] -%}
{{ config(tags=['business_day', 'country']) }}

with

sales_lines as (

    select * from {{ ref('fct_sales') }}
    where {{ in_slices('country', 'business_date') }}

),

totals as (

    select
        {{ total_of | join(', ') }},
        {{ total('net_amount_local') }} as net_sales_local,
        {{ total('net_amount_eur') }} as net_sales_eur
    from sales_lines
    group by {{ total_of | join(', ') }}

)

select * from totals
{{ in_slice_order() }}
