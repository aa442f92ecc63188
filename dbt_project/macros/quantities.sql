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

{#- Days of the slices on which a country reported stock, and on how many days of the window that
    ends with each it did.

    reported_days  CTE with one row per country and day that was reported -#}
{% macro days_with_stock(reported_days, window_days) -%}
    select
        reported.country,
        reported.business_date,
        count(*) as stock_days
    from {{ reported_days }} as reported
    inner join {{ reported_days }} as in_window
        on in_window.country = reported.country
        and in_window.business_date between {{ add_days('reported.business_date', 1 - window_days) }}
            and reported.business_date
    where {{ in_slices(none, 'reported.business_date') }}
    group by reported.country, reported.business_date
{%- endmacro %}
