{{ config(tags=['country']) }}

with

source as (

    select * from {{ source('raw', 'crm_contacts') }}
    where {{ in_slices('_country', '_batch_date') }}

),

typed as (

    select
        ---------- slice
        _country as country,
        _batch_date as batch_date,

        ---------- ids
        {{ clean_text('contact_id') }} as contact_id,
        {{ clean_text('account_id') }} as account_id,
        cast(customer_id as bigint) as customer_id,

        ---------- text
        {{ clean_text('mailing_city') }} as mailing_city,
        {{ clean_text('mailing_country') }} as mailing_country,
        {{ clean_text('lead_source') }} as lead_source,

        ---------- booleans
        coalesce(marketing_consent, false) as marketing_consent,
        coalesce(has_opted_out_of_email, false) as has_opted_out_of_email,
        coalesce(is_deleted, false) as is_deleted,
        coalesce(marketing_consent, false)
            and not coalesce(has_opted_out_of_email, true)
            and not coalesce(is_deleted, false)
            as may_be_emailed,

        ---------- timestamps
        cast(marketing_consent_at as timestamp) as marketing_consent_at,
        cast(created_at as timestamp) as created_at,
        cast(last_modified_at as timestamp) as last_modified_at,

        ---------- personal data: what the gate leaves of it
        first_name_token,
        last_name_token,
        email_token,
        phone_token,
        cast(birthdate_year as integer) as birth_year,

        ---------- delivery
        _delivered_at as delivered_at,
        _file_id as file_id,
        _source_file as source_file,
        _row_number as row_number
    from source

),

newest as (

    {{ newest_versions(
        'typed',
        key=['country', 'batch_date', 'contact_id'],
        newest_first=['last_modified_at', 'delivered_at', 'source_file', 'row_number'],
    ) }}

)

select * from newest
