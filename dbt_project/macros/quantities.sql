{#- Exact total of a column of whole numbers. The casts fix the type on both sides of the sum. -#}
{% macro total_count(numbers) -%}
    coalesce(cast(sum(cast({{ numbers }} as bigint)) as bigint), 0)
{%- endmacro %}

{#- Total of a column up to a row and its own included, of rows that differ in `order_column` within
    a key. A row without it stands for all that came before, and is first. -#}
{% macro so_far(column, key, order_column, type='bigint') -%}
    cast(
        sum(cast({{ column }} as {{ type }})) over (
            partition by {{ key | join(', ') }}
            order by {{ order_column }} asc nulls first
            rows between unbounded preceding and current row
        ) as {{ type }}
    )
{%- endmacro %}
