{#- Dimensions without history: one row per country and value that was ever delivered, with the
    first batch date that brought it (valid_from).

    An increment looks at its own slices and keeps what it knows of other days. Only of values whose
    row starts in its slices it reads all of staging, because a correction may have removed that
    first delivery, and the next one counts then.

    column        name of the value
    delivered_by  relation and expression of the value, for each staging model that brings it -#}
{% macro first_deliveries(column, delivered_by) %}
select
    country,
    {{ column }},
    min(batch_date) as valid_from
from (
    {%- for relation, value in delivered_by %}
    select
        staged.country,
        staged.batch_date,
        {{ value }} as {{ column }}
    from {{ relation }} as staged
    where {{ value }} is not null
    {%- if is_incremental() and is_sliced() %}
        and {{ in_slices('staged.country', 'staged.batch_date') }}
    union all
    select
        staged.country,
        staged.batch_date,
        {{ value }} as {{ column }}
    from {{ relation }} as staged
    inner join {{ this }} as known
        on known.country = staged.country
        and known.{{ column }} = {{ value }}
    where {{ in_slices('known.country', 'known.valid_from') }}
    {%- endif %}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
    {%- if is_incremental() and is_sliced() %}
    union all
    select
        known.country,
        known.valid_from as batch_date,
        known.{{ column }}
    from {{ this }} as known
    where not ({{ in_slices('known.country', 'known.valid_from') }})
    {%- endif %}
) as deliveries
group by country, {{ column }}
{% endmacro %}
