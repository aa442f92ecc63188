{{ config(
    tags=['batch_day', 'country'],
    incremental_strategy='replace_keys',
    unique_key=['country', 'city'],
    meta={'slice_day': 'valid_from'},
) }}

with

cities as (

    {{ first_deliveries('city', [
        (ref('stg_stores'), 'staged.city'),
        (ref('stg_customers'), 'staged.city'),
        (ref('stg_crm_contacts'), 'staged.mailing_city'),
        (ref('stg_weather'), 'staged.city'),
    ]) }}

)

select
    country,
    city,
    {%- for column, attribute in {
        'country_name': 'name', 'currency_code': 'currency', 'time_zone': 'timezone'
    }.items() %}
    case country
        {%- for code, market in known_markets().items() %}
        when '{{ code }}' then '{{ market[attribute] | replace("'", "''") }}'
        {%- endfor %}
    end as {{ column }},
    {%- endfor %}
    valid_from
from cities
{{ in_slice_order() }}
