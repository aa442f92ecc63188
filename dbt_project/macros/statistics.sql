{#- What is estimated rather than counted. -#}

{#- A figure computed in floating point, as a decimal whose sum does not depend on the order. -#}
{% macro exact(figure) -%}
    cast({{ figure }} as {{ exact_type() }})
{%- endmacro %}

{% macro exact_type() -%}
    decimal(28, 12)
{%- endmacro %}

{#- Sum of such figures, to go on with in floating point. -#}
{% macro exact_total(figure) -%}
    cast(cast(sum({{ exact(figure) }}) as {{ exact_type() }}) as double)
{%- endmacro %}

{#- A figure computed in floating point, to four decimals: far more than the order of a sum or the
    mathematics of an engine changes. -#}
{% macro estimate(figure) -%}
    cast(round({{ figure }}, 4) as decimal(18, 4))
{%- endmacro %}

{#- Half the width of a 95 % interval, in standard errors. -#}
{% macro z_of_95_percent() -%}
    1.96
{%- endmacro %}

{#- Whether a promotion is for a group of articles; without category or sub category for all. -#}
{% macro covers(promotion, group) -%}
    coalesce({{ promotion }}.category, {{ group }}.category) = {{ group }}.category
        and coalesce({{ promotion }}.sub_category, {{ group }}.sub_category)
            = {{ group }}.sub_category
{%- endmacro %}
