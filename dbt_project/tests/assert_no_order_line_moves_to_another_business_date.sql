{{ config(severity='warn') }}

-- Warns: a batch of this run brings an order line that another batch of the last 30 days dated
-- differently. Versions of a line replace each other within a business date, so this line now
-- counts on both days: have the wrong one withdrawn by a corrected file.

with

this_run as (

    select * from {{ ref('stg_transactions') }}
    where {{ in_slices('country', 'batch_date') }}

),

recent as (

    select * from {{ ref('stg_transactions') }}
    where {{ in_slices('country', 'batch_date', lead_days=30) }}

)

select
    this_run.country,
    this_run.invoice_id,
    this_run.line,
    this_run.business_date,
    recent.business_date as other_business_date,
    recent.source_file as other_source_file
from this_run
inner join recent
    on recent.country = this_run.country
    and recent.invoice_id = this_run.invoice_id
    and recent.line = this_run.line
    and recent.business_date <> this_run.business_date
