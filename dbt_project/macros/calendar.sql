{#- Calendar arithmetic in plain day counts: the engines' own week functions differ in the first
    day of the week, and Snowflake's depend on session parameters. -#}

{#- 1 = Monday .. 7 = Sunday. 1 January 1900 was a Monday. -#}
{% macro iso_weekday(day) -%}
    (mod({{ dbt.datediff("date '1900-01-01'", day, 'day') }}, 7) + 1)
{%- endmacro %}

{% macro year_of(day) -%}
    cast(extract(year from {{ day }}) as integer)
{%- endmacro %}

{#- A date of a computed year, e.g. date_in_year('iso_year', '01-01'). -#}
{% macro date_in_year(year, month_and_day) -%}
    cast(cast({{ year }} as varchar) || '-{{ month_and_day }}' as date)
{%- endmacro %}

{% macro add_days(day, days) -%}
    cast({{ dbt.dateadd('day', days, day) }} as date)
{%- endmacro %}

{#- First day of a 4-5-4 retail year: the Sunday nearest to 1 February, which is the first one on or
    after 29 January. A 53rd week follows by itself where two such Sundays lie 371 days apart. -#}
{% macro retail_year_start(year) -%}
    {%- set earliest = date_in_year(year, '01-29') -%}
    {{ add_days(earliest, '(7 - ' ~ iso_weekday(earliest) ~ ')') }}
{%- endmacro %}
