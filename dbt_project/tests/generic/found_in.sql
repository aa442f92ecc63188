{#- Every value exists in a dimension, in any version of it: reference files may come later than the
    sales that use them, so being there at all is what is asked. A failing row names the value.

    same_country  the dimension is kept per country -#}
{% test found_in(model, column_name, to, field, same_country) %}

with

used as (

    select distinct country, {{ column_name }} as used_value
    from {{ model }}
    where {{ column_name }} is not null

)

select
    used.country,
    used.used_value
from used
where not exists (
    select 1
    from {{ to }} as known
    where known.{{ field }} = used.used_value
        {{ 'and known.country = used.country' if same_country }}
)

{% endtest %}
