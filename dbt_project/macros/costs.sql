{#- From when on costs are looked at. ACCOUNT_USAGE holds a year of all that the account did, and
    reading it costs, too; a bound that the engine knows lets it leave the rest out. -#}
{% macro first_day_of_costs() -%}
    dateadd(day, -{{ var('cost_days') }}, current_timestamp())
{%- endmacro %}

{#- A statement for more days than this was for all of them; a bare build says 1900 to 9999. -#}
{% macro longest_span_in_days() -%}
    3660
{%- endmacro %}
