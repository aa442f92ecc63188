{{ config(
    tags=['batch_day', 'country'],
    incremental_strategy='replace_keys',
    unique_key=['country', 'channel'],
    meta={'slice_day': 'valid_from'},
) }}

with

channels as (

    {{ first_deliveries('channel', [
        (ref('stg_transactions'), "'store'"),
        (ref('stg_pos_events'), "'store'"),
        (ref('stg_online_orders'), "'online'"),
        (ref('stg_online_refunds'), "'online'"),
        (ref('stg_partner_sales'), "'partner'"),
    ]) }}

)

select
    country,
    channel,
    case channel
        when 'store' then 'Own shops'
        when 'online' then 'Web shop'
        when 'partner' then 'Shops of partners'
    end as channel_name,
    channel <> 'partner' as is_own,
    channel <> 'online' as has_shops,
    valid_from
from channels
{{ in_slice_order() }}
