{#- A value of the column, within the rest of its key, goes with one other value only. -#}
{% test determines(model, column_name, value, within) %}

select
    {{ within | join(', ') }},
    {{ column_name }},
    count(distinct {{ value }}) as value_count
from {{ model }}
group by {{ within | join(', ') }}, {{ column_name }}
having count(distinct {{ value }}) > 1

{% endtest %}
