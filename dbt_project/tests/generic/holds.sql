{#- A condition between columns holds on every row; unknown (null) counts as a failure. -#}
{% test holds(model, condition) %}

select *
from {{ model }}
where not coalesce({{ condition }}, false)

{% endtest %}
