{{ config(tags=['batch_day', 'country'], meta={'slice_day': 'batch_date'}) }}

-- The two feeds that carry sales. Reference feeds are left out: a row of theirs that repeats an
-- older one is not a row ignored.

with

loaded_files as (

    select * from {{ source('raw', 'file_ledger') }}
    where {{ in_slices('country', 'batch_date') }}
        and state = 'loaded'
        and feed in ('transactions', 'partner_sales')

),

deliveries as (

    select
        country,
        batch_date,
        feed,
        cast(count(*) as bigint) as files,
        {{ total_count('rows_in') }} as rows_in,
        {{ total_count('rows_loaded') }} as rows_loaded,
        {{ total_count('rows_quarantined') }} as rows_quarantined,
        {{ total_count('rows_duplicate') }} as rows_duplicate
    from loaded_files
    group by country, batch_date, feed

),

staged_rows as (

    select
        country,
        batch_date,
        'transactions' as feed,
        cast(count(*) as bigint) as rows_valid
    from {{ ref('stg_transactions') }}
    where {{ in_slices('country', 'batch_date') }}
    group by country, batch_date

    union all

    select
        country,
        batch_date,
        'partner_sales' as feed,
        cast(count(*) as bigint) as rows_valid
    from {{ ref('stg_partner_sales') }}
    where {{ in_slices('country', 'batch_date') }}
    group by country, batch_date

),

lifecycles as (

    select
        deliveries.*,
        coalesce(staged_rows.rows_valid, 0) as rows_valid
    from deliveries
    left join staged_rows
        on staged_rows.country = deliveries.country
        and staged_rows.batch_date = deliveries.batch_date
        and staged_rows.feed = deliveries.feed

),

quarantine_reasons as (

    {{ json_counts('loaded_files', ['country', 'batch_date', 'feed'], 'reasons') }}

),

all_reasons as (

    select country, batch_date, feed, reason, reason_count
    from quarantine_reasons

    union all

    select country, batch_date, feed, 'exact_duplicate' as reason, rows_duplicate as reason_count
    from lifecycles

    union all

    -- loaded, then replaced by a newer row with the same key in the same batch
    select
        country, batch_date, feed, 'replaced_in_batch' as reason, rows_loaded - rows_valid
        as reason_count
    from lifecycles

),

reason_totals as (

    select
        country,
        batch_date,
        feed,
        reason,
        {{ total_count('reason_count') }} as reason_count
    from all_reasons
    group by country, batch_date, feed, reason

),

reason_texts as (

    select
        country,
        batch_date,
        feed,
        {{ dbt.listagg(
            measure="reason || ' ' || cast(reason_count as varchar)",
            delimiter_text="', '",
            order_by_clause='order by reason asc',
        ) }} as ignored_reasons
    from reason_totals
    where reason_count <> 0
    group by country, batch_date, feed

)

select
    lifecycles.country,
    lifecycles.batch_date,
    lifecycles.feed,
    lifecycles.files,
    lifecycles.rows_in,
    lifecycles.rows_loaded,
    lifecycles.rows_quarantined,
    lifecycles.rows_duplicate,
    lifecycles.rows_valid,
    cast(lifecycles.rows_in - lifecycles.rows_valid as bigint) as rows_ignored,
    reason_texts.ignored_reasons
from lifecycles
left join reason_texts
    on reason_texts.country = lifecycles.country
    and reason_texts.batch_date = lifecycles.batch_date
    and reason_texts.feed = lifecycles.feed
{{ in_slice_order() }}
