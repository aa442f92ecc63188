{#- Every column of the grain is filled: one query for all of them. -#}
{% test grain_not_null(model, columns) %}

select {{ columns | join(', ') }}
from {{ model }}
where {{ columns | join(' is null or ') }} is null

{% endtest %}
