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

{#- An amount divided by a count, to the cent; null for a count of zero. -#}
{% macro amount_per(amount, how_many) -%}
    {{ quotient(amount, how_many, 'decimal(24, 6)', 2, 'decimal(18, 2)') }}
{%- endmacro %}

{#- Cost of one piece, to four decimals as it is reported; null of no pieces. -#}
{% macro cost_per_piece(cost, pieces) -%}
    {{ quotient(cost, pieces, 'decimal(28, 8)', 4, 'decimal(18, 4)') }}
{%- endmacro %}

{#- A count as a share of another, 0 to 1, to four decimals; null where there is nothing to share.
    With fewer decimals in between, shares next to a tie would become one. -#}
{% macro share_of(part, whole) -%}
    {{ quotient(part, whole, 'decimal(18, 12)', 4, 'decimal(5, 4)') }}
{%- endmacro %}

{#- What a share may not be: more than one. To four decimals; null of nothing or less. -#}
{% macro rate_of(part, whole) -%}
    case
        when {{ whole }} > 0
            then {{ quotient(part, whole, 'decimal(28, 12)', 4, 'decimal(18, 4)') }}
    end
{%- endmacro %}

{#- Engines differ in the type of a decimal division, so it is done in floating point and brought
    back through `exact`, a type with more decimals than the result, which restores ties such as
    10.01 / 2 = 5.005 before they are rounded. -#}
{% macro quotient(dividend, divisor, exact, decimals, type) -%}
    cast(
        round(
            cast(
                cast({{ dividend }} as double) / nullif(cast({{ divisor }} as double), 0)
                as {{ exact }}
            ),
            {{ decimals }}
        ) as {{ type }}
    )
{%- endmacro %}

{#- Euros for one unit of a row's currency, of rows joined with int_fx_rates as fx_rates. -#}
{% macro eur_rate_of(rows) -%}
    case
        when {{ rows }}.currency_code = 'EUR' then cast(1 as decimal(18, 10))
        else fx_rates.eur_rate
    end
{%- endmacro %}

{#- Rows with an eur_rate, without the days on which one of them has none: part of a day, or a rate
    of one, would be a wrong total that looks right. -#}
{% macro on_days_with_all_rates(rows) -%}
    select {{ rows }}.*
    from {{ rows }}
    where not exists (
        select 1
        from {{ rows }} as without_rate
        where without_rate.eur_rate is null
            and without_rate.country = {{ rows }}.country
            and without_rate.business_date = {{ rows }}.business_date
    )
{%- endmacro %}

{#- What such days are left out for: one row per country, day and currency without a rate. -#}
{% macro currencies_without_rate(relation) -%}
    select
        to_convert.country,
        to_convert.business_date,
        to_convert.currency_code,
        count(*) as rows_to_convert
    from {{ relation }} as to_convert
    left join {{ ref('int_fx_rates') }} as fx_rates
        on fx_rates.business_date = to_convert.business_date
        and fx_rates.currency_code = to_convert.currency_code
        and {{ in_slices(none, 'fx_rates.business_date') }}
    where {{ in_slices('to_convert.country', 'to_convert.business_date') }}
        and fx_rates.eur_rate is null
        and coalesce(to_convert.currency_code, '') <> 'EUR'
    group by to_convert.country, to_convert.business_date, to_convert.currency_code
{%- endmacro %}
