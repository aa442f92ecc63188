{#- A country's day is like the same weekday of the four weeks before, where at least three of these
    have rows. It warns, it does not judge: a sale begins, a street is closed. A day without rows is
    none of its business, files that do not come are missed elsewhere.

    relation   the model itself, as ref(...): the test reads more of it than the slices of the run
    measure    aggregate over the rows of a country and day
    low, high  how many times the usual it may be
    tolerance  how far beyond these bounds it may be, for shares that are zero most of the time -#}
{% test like_same_weekday(model, relation, measure, low, high, tolerance=0) %}

with

days as (

    select
        country,
        business_date,
        cast({{ measure }} as double) as measured
    from {{ relation }}
    where {{ in_slices('country', 'business_date', lead_days=28) }}
    group by country, business_date

),

with_usual as (

    select
        days.country,
        days.business_date,
        days.measured,
        avg(earlier.measured) as usual
    from days
    inner join days as earlier
        on earlier.country = days.country
        and earlier.business_date in (
            {%- for weeks in (1, 2, 3, 4) %}
            {{ add_days('days.business_date', -7 * weeks) }}{{ ',' if not loop.last }}
            {%- endfor %}
        )
    where {{ in_slices('days.country', 'days.business_date') }}
    group by days.country, days.business_date, days.measured
    having count(*) >= 3

)

select *
from with_usual
where measured < {{ low }} * usual - {{ tolerance }}
    or measured > {{ high }} * usual + {{ tolerance }}

{% endtest %}
