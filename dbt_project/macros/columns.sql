{#- Lists of columns as SQL text. -#}

{% macro prefixed(alias, columns) -%}
    {%- for column in columns -%}
        {{ alias }}.{{ column }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- Predicate: two relations agree in these columns, none of them null. -#}
{% macro same(one, other, columns) -%}
    {%- for column in columns -%}
        {{ 'and ' if not loop.first }}{{ one }}.{{ column }} = {{ other }}.{{ column }}{{ ' ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- Predicate: two relations agree in these columns, or lack the same ones. -#}
{% macro same_or_null(one, other, columns) -%}
    {%- for column in columns -%}
        {{ 'and ' if not loop.first }}{{ one }}.{{ column }} is not distinct from {{ other }}.{{ column }}{{ ' ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- One hash of several columns. Each part carries its length, so that ('a', 'bc') and ('ab', 'c')
    differ, as do null and the empty text. -#}
{% macro fingerprint(columns) -%}
    {%- set parts = [] -%}
    {%- for column in columns -%}
        {%- set text = 'cast(' ~ column ~ ' as varchar)' -%}
        {%- do parts.append(
            "coalesce(cast(length(" ~ text ~ ") as varchar) || ':' || " ~ text ~ ", '-')"
        ) -%}
    {%- endfor -%}
    {{ dbt.hash(parts | join(' || ')) }}
{%- endmacro %}
