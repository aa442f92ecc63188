{#- Exact total of a column of pieces. The casts fix the type on both sides of the sum. -#}
{% macro total_units(units) -%}
    coalesce(cast(sum(cast({{ units }} as bigint)) as bigint), 0)
{%- endmacro %}

{#- What of it has come about up to a row's day, of rows with one per day and key, all days in front
    of the first one included; their row has no day. -#}
{% macro so_far(column, key, day_column, type='bigint') -%}
    cast(
        sum(cast({{ column }} as {{ type }})) over (
            partition by {{ key | join(', ') }}
            order by {{ day_column }} asc nulls first
            rows between unbounded preceding and current row
        ) as {{ type }}
    )
{%- endmacro %}
