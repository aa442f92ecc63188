{{ config(tags=['business_day', 'global']) }}

-- Days that metrics over several days are lined up on. Rates are carried over weekends and
-- holidays, so each day that sales can be converted on is here.

with

fx_rates as (

    select * from {{ ref('int_fx_rates') }}
    where {{ in_slices(none, 'business_date') }}

)

select distinct
    country,
    business_date
from fx_rates
{{ in_slice_order() }}
