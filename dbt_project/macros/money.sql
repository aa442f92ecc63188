{#- Amounts are decimal(18,2), rates decimal(18,10), never floating point. Rounding is here and
    nowhere else, so that both engines and all layers round the same cents. -#}

{#- An amount in euros. The amount is widened first: DuckDB multiplies two decimals of 18 digits
    into 18 digits, which overflows from one million on. -#}
{% macro to_eur(amount, eur_rate) -%}
    cast(round(cast({{ amount }} as decimal(26, 2)) * {{ eur_rate }}, 2) as decimal(18, 2))
{%- endmacro %}

{#- Exact total of an amount column. The casts fix the type on both sides of the sum. -#}
{% macro total(amount) -%}
    coalesce(cast(sum(cast({{ amount }} as decimal(18, 2))) as decimal(18, 2)), 0)
{%- endmacro %}

{#- An amount divided by a count, to the cent; null for a count of zero. Engines differ in the type
    of a decimal division, so it is done in floating point and brought back through six decimals,
    which restores ties such as 10.01 / 2 = 5.005 before they are rounded. -#}
{% macro amount_per(amount, how_many) -%}
    cast(
        round(
            cast(
                cast({{ amount }} as double) / nullif(cast({{ how_many }} as double), 0)
                as decimal(24, 6)
            ),
            2
        ) as decimal(18, 2)
    )
{%- endmacro %}

{#- A count as a share of another, 0 to 1, to four decimals; null where there is nothing to share.
    Divided like an amount; with fewer decimals in between, shares next to a tie would become one. -#}
{% macro share_of(part, whole) -%}
    cast(
        round(
            cast(
                cast({{ part }} as double) / nullif(cast({{ whole }} as double), 0)
                as decimal(18, 12)
            ),
            4
        ) as decimal(5, 4)
    )
{%- endmacro %}
