{#- Every value exists in a dimension, in any version of it: reference files may come later than the
    sales that use them, so being there at all is what is asked. A failing row names the value.

    same_country  the dimension is kept per country -#}
{% test found_in(model, column_name, to, field, same_country) %}

with

used as (

    select distinct country, {{ column_name }} as used_value
    from {{ model }}
    where {{ column_name }} is not null

),

known as (

    select distinct country, {{ field }} as known_value
    from {{ to }}

)

select
    used.country,
    used.used_value
from used
left join known
    on known.known_value = used.used_value
    {{ 'and known.country = used.country' if same_country }}
where known.known_value is null

{% endtest %}
