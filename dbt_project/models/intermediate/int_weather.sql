{{ config(tags=['business_day', 'country']) }}

with

versions as (

    select * from {{ ref('stg_weather') }}
    where {{ in_slices('country', 'business_date') }}

),

newest as (

    {{ newest_versions(
        'versions',
        key=['country', 'business_date', 'city'],
        newest_first=['batch_date', 'delivered_at', 'source_file', 'row_number'],
    ) }}

)

select
    country,
    business_date,
    city,
    condition,
    -- decimals from here on, whose averages do not depend on the order
    cast(temperature_min_c as decimal(6, 2)) as temperature_min_c,
    cast(temperature_max_c as decimal(6, 2)) as temperature_max_c,
    cast((temperature_min_c + temperature_max_c) / 2 as decimal(6, 2)) as temperature_mean_c,
    cast(precipitation_mm as decimal(6, 2)) as precipitation_mm,
    cast(wind_kmh as decimal(6, 2)) as wind_kmh,
    batch_date,
    file_id,
    row_number
from newest
{{ in_slice_order() }}
