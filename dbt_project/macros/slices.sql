{#- The slices of a run: which countries, which days. Everything that reads the three vars is in
    this file. They arrive when dbt is invoked, long after the manifest was parsed, so they must be
    read in SQL bodies only; in a config they would be frozen at their defaults. -#}

{#- The vars, checked. They end up as literals in SQL, so anything but codes and ISO dates stops
    the run. Returns countries (list, empty = all), first_day and last_day (ISO text). -#}
{% macro run_slices() %}
    {% set countries = [] %}
    {% for code in (var('countries') | string).split(',') if code | trim %}
        {% if not modules.re.match('^[A-Z]{2,3}$', code | trim) %}
            {% do exceptions.raise_compiler_error(
                "var countries: seen '" ~ var('countries') ~ "', expected comma separated codes"
                ~ " such as FR,DE (ALL for global models), or nothing for all countries"
            ) %}
        {% endif %}
        {% do countries.append(code | trim) %}
    {% endfor %}

    {% set days = {'first_day': var('first_day') | string, 'last_day': var('last_day') | string} %}
    {% for name, day in days.items() %}
        {% if not modules.re.match('^[0-9]{4}-[0-9]{2}-[0-9]{2}$', day) %}
            {% do exceptions.raise_compiler_error(
                'var ' ~ name ~ ": seen '" ~ day ~ "', expected an ISO date such as 2025-01-11"
            ) %}
        {% endif %}
    {% endfor %}
    {% if days.first_day > days.last_day %}
        {% do exceptions.raise_compiler_error(
            'vars first_day ' ~ days.first_day ~ ' and last_day ' ~ days.last_day
            ~ ': expected first_day to be no later than last_day'
        ) %}
    {% endif %}

    {% do return({
        'countries': countries,
        'first_day': days.first_day,
        'last_day': days.last_day,
    }) %}
{% endmacro %}

{#- Whether the run is about a part of the data only. -#}
{% macro is_sliced() %}
    {% set slices = run_slices() %}
    {% do return(
        slices.countries | length > 0
        or slices.first_day != '1900-01-01'
        or slices.last_day != '9999-12-31'
    ) %}
{% endmacro %}

{#- Predicate: the row belongs to the slices of this run, or to the days around them that the model
    reads as well. Literals on purpose: engines prune whole row groups by a literal date and cannot
    by a joined one, which is what keeps a 7-day run as fast on ten years of history as on one.

    country_column  none where the column does not matter (global tables read by country models)
    lead_days       widens the window to that many days before the first one, 'all' to all of them
    trail_days      widens it to that many days after the last one, 'all' to all of them -#}
{% macro in_slices(country_column, day_column, lead_days=0, trail_days=0) %}
    {%- set slices = run_slices() -%}
    {%- if flags.FULL_REFRESH and is_sliced() -%}
        {% do exceptions.raise_compiler_error(
            '--full-refresh with countries or days set would drop every other slice: leave out'
            ~ ' either the vars or the flag'
        ) %}
    {%- endif -%}
    {%- set first_day = modules.datetime.date.fromisoformat(slices.first_day) -%}
    {%- if lead_days == 'all' -%}
        {%- set first_day = modules.datetime.date.min -%}
    {%- elif lead_days -%}
        {%- set first_day = first_day - modules.datetime.timedelta(days=lead_days) -%}
    {%- endif -%}
    {%- set last_day = modules.datetime.date.fromisoformat(slices.last_day) -%}
    {%- if trail_days == 'all' -%}
        {%- set last_day = modules.datetime.date.max -%}
    {%- elif trail_days and slices.last_day != '9999-12-31' -%}
        {%- set last_day = last_day + modules.datetime.timedelta(days=trail_days) -%}
    {%- endif -%}
    {{ day_column }} between date '{{ first_day.isoformat() }}' and date '{{ last_day.isoformat() }}'
    {%- if country_column and slices.countries %}
    and {{ country_column }} in ('{{ slices.countries | join("', '") }}')
    {%- endif -%}
{% endmacro %}

{#- Predicate: the day is one whose versions the run may change. A row of a batch has a part in the
    state of its key on all later days. Where versions follow from that key alone, what changes
    starts in the slices; where others have a part in them (`meta: {later_days: true}`), any version
    that starts later may have to go, or to come. -#}
{% macro in_changed_days(country_column, day_column) -%}
    {%- set later = execute and config.get('meta', {}).get('later_days') -%}
    {{ in_slices(country_column, day_column, trail_days='all' if later else 0) }}
{%- endmacro %}

{#- Predicate: the row of an input is on one of the days that the model declares to read of it:

        meta={'reads': {'fct_sales': {'days_before': 364}}}

    A model's own day alone needs no declaration. The orchestrator takes lineage from the same
    place, so whatever is read here makes the model stale when it changes. Unit tests run without
    the model's meta; their slices are all days. -#}
{% macro in_window(input, country_column, day_column) %}
    {#- while dbt parses, a config has no values -#}
    {%- set reads = config.get('meta', {}).get('reads', {}) if execute else {} -%}
    {%- set window = reads.get(input, {}) -%}
    {%- if not window and execute and is_sliced() -%}
        {% do exceptions.raise_compiler_error(
            "in_window('" ~ input ~ "'): expected the days to be declared in the model, as in"
            ~ " meta={'reads': {'" ~ input ~ "': {'days_before': 364}}}; for its own day use in_slices"
        ) %}
    {%- endif -%}
    {{ in_slices(
        country_column, day_column, window.get('days_before', 0), window.get('days_after', 0)
    ) }}
{%- endmacro %}

{#- The column that a model is sliced by, beside country. -#}
{% macro slice_day_column() %}
    {% do return(config.get('meta', {}).get('slice_day')) %}
{% endmacro %}

{#- Closing clause of every model beyond staging, which reads RAW in its order: the first build
    writes rows in slice order, as the increments do, because pruning by date works only on rows
    that lie together by date. Unit tests run without the model's meta and need no order. -#}
{% macro in_slice_order() %}
    {%- if execute and slice_day_column() and not is_incremental() -%}
    order by {{ slice_day_column() }} asc nulls last, country asc nulls last
    {%- endif -%}
{% endmacro %}

{#- dbt calls this for the model under every generic data test. Tests look at the slices of the
    run only, so that their cost does not grow with history. A `where` config cannot say that: dbt
    renders it at parse time, when the vars still have their defaults. -#}
{% macro get_where_subquery(relation) -%}
    {%- set conditions = [] -%}
    {%- if config.get('where') -%}
        {%- do conditions.append('(' ~ config.get('where') ~ ')') -%}
    {%- endif -%}
    {%- if execute -%}
        {%- set tested = graph.nodes.get(model.attached_node, {}) -%}
        {%- set slice_day = tested.get('config', {}).get('meta', {}).get('slice_day') -%}
        {%- if slice_day -%}
            {%- do conditions.append(in_slices('country', slice_day)) -%}
        {%- endif -%}
    {%- endif -%}
    {%- if conditions -%}
        (select * from {{ relation }} where {{ conditions | join(' and ') }}) dbt_subquery
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}
