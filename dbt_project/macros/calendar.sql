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

{#- English, by number from 1. The engines' own functions disagree: Snowflake's cut names short. -#}
{% macro name_of_weekday(weekday) -%}
    {{ nth_of(weekday, [
        'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'
    ]) }}
{%- endmacro %}

{% macro name_of_month(month) -%}
    {{ nth_of(month, [
        'January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September',
        'October', 'November', 'December'
    ]) }}
{%- endmacro %}

{% macro nth_of(number, names) -%}
    case {{ number }}
        {%- for name in names %} when {{ loop.index }} then '{{ name }}'{% endfor %}
    end
{%- endmacro %}

{#- Relation of the public holidays in the slices of this run. The row of nulls joins with nothing;
    it is there because there may be no holiday, and VALUES may not be empty. -#}
{% macro public_holidays() -%}
    {%- set slices = run_slices() -%}
    (
        values (null, null, null)
        {%- for line in known_public_holidays().splitlines() %}
        {%- set country, day, name = line.split(',', 2) %}
        {%- if (country in slices.countries or not slices.countries)
            and slices.first_day <= day <= slices.last_day %},
        ('{{ country }}', '{{ day }}', '{{ name | replace("'", "''") }}')
        {%- endif %}
        {%- endfor %}
    )
{%- endmacro %}

{#- Whether the holidays of a country and year are known at all. -#}
{% macro knows_public_holidays(country, year) -%}
    {%- set known = where_public_holidays_are_known() -%}
    (
        {{ country }} in ('{{ known.countries | join("', '") }}')
        and {{ year }} between {{ known.first_year }} and {{ known.last_year }}
    )
{%- endmacro %}

{% macro first_day_of_month(day) -%}
    cast({{ dbt.date_trunc('month', day) }} as date)
{%- endmacro %}

{#- period  'retail_week', which runs from Sunday to Saturday, or 'month' -#}
{% macro last_day_of(period, day) -%}
    {%- if period == 'retail_week' -%}
        {{ add_days(day, '(6 - mod(' ~ iso_weekday(day) ~ ', 7))') }}
    {%- elif period == 'month' -%}
        cast({{ dbt.last_day(day, 'month') }} as date)
    {%- endif -%}
{%- endmacro %}

{#- What a report "as of" is made for: country and last day of each period that ends in the slices
    of this run and has a row in the relation. Neither today's date nor another period has a say, so
    the rows of a slice stay what they are however often it is built. -#}
{% macro closing_days(relation, period) -%}
    {%- set days = {'retail_week': 7, 'month': 31}[period] -%}
    select distinct
        country,
        {{ last_day_of(period, 'business_date') }} as business_date
    from {{ relation }}
    where {{ in_slices('country', 'business_date', lead_days=days - 1) }}
        and {{ in_slices(none, last_day_of(period, 'business_date')) }}
{%- endmacro %}

{#- Whether a retail week is the 53rd of its year, by its last day. Such a week has no week of the
    year before to be compared with; all others have the one that ended 364 days earlier. -#}
{% macro is_week_53(last_day) -%}
    {%- set year_start = add_days(last_day, -370) -%}
    {%- set next_year_start = add_days(last_day, 1) -%}
    (
        {{ retail_year_start(year_of(year_start)) }} = {{ year_start }}
        and {{ retail_year_start(year_of(next_year_start)) }} = {{ next_year_start }}
    )
{%- endmacro %}
