{#- Dimensions with history (SCD2), computed from all staged versions of a key. dbt snapshots are
    not used: what they hold depends on when they ran, and a late or corrected file must give the
    same history as a rebuild from scratch. -#}

{#- One row per run of equal attributes: valid_from is the batch date that brought the attributes,
    valid_to the batch date that brought others (exclusive, null = current).

    relation    CTE with one row per key and batch_date, over all of staging
    attributes  its other columns

    An increment looks at the keys delivered in its slices and at those with a version that starts
    there. The second half finds rows that a correction removed: such a row either started a
    version, or repeated the one before it and never mattered. Of what was delivered before the
    slices, the versions are known and say all there is to say. -#}
{% macro versions_of_touched_keys(relation, key, attributes) %}
{%- set columns = key + attributes -%}
{%- set touched_rows -%}
(
    select
        {{ prefixed('delivered', columns) }},
        delivered.batch_date
    {%- if is_incremental() and is_sliced() %}
    from (
        select {{ columns | join(', ') }}, batch_date
        from {{ relation }}
        where {{ in_slices(none, 'batch_date', trail_days='all') }}
        union all
        select {{ columns | join(', ') }}, valid_from as batch_date
        from {{ this }}
        where valid_from < date '{{ run_slices().first_day }}'
    ) as delivered
    where exists (
        select 1
        from (
            select {{ key | join(', ') }}
            from {{ relation }}
            where {{ in_slices('country', 'batch_date') }}
            union
            select {{ key | join(', ') }}
            from {{ this }}
            where {{ in_slices('country', 'valid_from') }}
        ) as touched
        where {{ same('touched', 'delivered', key) }}
    )
    {%- else %}
    from {{ relation }} as delivered
    {%- endif %}
)
{%- endset -%}
{{ versions_of(touched_rows, key, attributes) }}
{% endmacro %}

{#- The same of all keys of a relation. -#}
{% macro versions_of(relation, key, attributes) %}
select
    changes.*,
    changes.batch_date as valid_from,
    lead(changes.batch_date) over (
        partition by {{ prefixed('changes', key) }} order by changes.batch_date asc nulls last
    ) as valid_to
from (
    select hashed.*
    from (
        select
            staged.*,
            {{ fingerprint(attributes) }} as attributes_hash
        from {{ relation }} as staged
    ) as hashed
    qualify coalesce(
        lag(hashed.attributes_hash) over (
            partition by {{ prefixed('hashed', key) }} order by hashed.batch_date asc nulls last
        ) <> hashed.attributes_hash,
        true
    )
) as changes
{% endmacro %}

{#- Predicate: a version of a dimension is the one that was valid on a day. -#}
{% macro valid_on(version, day, since='valid_from') -%}
    {{ version }}.{{ since }} <= {{ day }}
        and coalesce({{ version }}.valid_to > {{ day }}, true)
{%- endmacro %}

{#- First business day that a version counts for where days ask for it: the one it is valid from. The
    first version of a key also counts for the days before it on whose behalf its file is still
    looked at (var lookback_days), so that what sold before its list came gets its attributes with
    the list. Not for longer: every day would have to read every later file. -#}
{% macro applies_from(key) -%}
    case
        when lag(valid_from) over (
            partition by {{ key | join(', ') }} order by valid_from asc nulls last
        ) is null
            then {{ add_days('valid_from', 1 - var('lookback_days')) }}
        else valid_from
    end
{%- endmacro %}

{#- Predicate: a version of a dimension that has applies_from is the one that counts for a business
    day. Who joins by it reads versions of later days as well, and declares so:

        meta={'reads': {'dim_product': {'days_after': var('lookback_days') - 1, ...}}} -#}
{% macro applies_on(version, day) -%}
    {{ valid_on(version, day, since='applies_from') }}
{%- endmacro %}
