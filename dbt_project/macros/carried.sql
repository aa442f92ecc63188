{#- Figures that sum up all days before are carried from month end to month end, in a model that
    keeps them per key and closing day. Who reads it looks at the newest closing day before the
    slices and at the days since, so that a run costs the same on ten years of history as on one.

    What is carried is a short cut, never a condition: of countries that have nothing on that day,
    and in runs over all countries, all days are read. -#}

{#- Last day of the month before the first one of the slices, ISO text. -#}
{% macro carried_until() %}
    {%- set first_day = modules.datetime.date.fromisoformat(run_slices().first_day) -%}
    {% do return((first_day.replace(day=1) - modules.datetime.timedelta(days=1)).isoformat()) %}
{% endmacro %}

{#- Rows that the slices of this run build on.

    monthly  model with one row per key and closing day, declared with all days before; the model
             itself where it carries itself on -#}
{% macro carried_rows(monthly) -%}
    {%- set countries = run_slices().countries -%}
    select * from {{ this if monthly == this.identifier else ref(monthly) }}
    where {{ in_window(monthly, 'country', 'business_date') }}
        and business_date = date '{{ carried_until() }}'
        {%- if not countries %}
        and false
        {%- endif %}
{%- endmacro %}

{#- Rows of an input, declared with all days before, that are not in what is carried.

    carried  CTE of `carried_rows`; none where the model cannot have any yet -#}
{% macro rows_since_carried(input, carried) -%}
    {%- set countries = run_slices().countries -%}
    select * from {{ ref(input) }}
    where {{ in_window(input, 'country', 'business_date') }}
    {%- if carried and countries %}
        and business_date > date '{{ carried_until() }}'

    union all

    select * from {{ ref(input) }}
    where {{ in_window(input, 'country', 'business_date') }}
        and business_date <= date '{{ carried_until() }}'
        and country in (
            select asked.country
            from (values ('{{ countries | join("'), ('") }}')) as asked (country)
            except
            select {{ carried }}.country from {{ carried }}
        )
    {%- endif %}
{%- endmacro %}
