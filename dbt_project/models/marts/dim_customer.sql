{%- set key = ['country', 'customer_key'] -%}
{%- set attributes = [
    'contact_id',
    'contact_count',
    'known_from',
    'matched_by',
    'city',
    'country_name',
    'address_from',
    'gender',
    'birth_year',
    'birth_year_from',
    'job_title',
    'lead_source',
    'marketing_consent',
    'has_opted_out_of_email',
    'may_be_emailed',
    'marketing_consent_at',
] -%}
{#- a city of the one and a country of the other would be nobody's address -#}
{%- set is_address_of_crm = 'customers.city is null and crm.mailing_city is not null' -%}
{{ config(
    tags=['batch_day', 'country'],
    incremental_strategy='replace_keys',
    unique_key=key,
    meta={'slice_day': 'valid_from', 'later_days': true},
) }}

-- A shop customer is a member, with all contacts of the CRM system that are the same person
-- (int_crm_contacts says which). A contact that is nobody's is a member of its own, for as long as
-- it is: then its days end, and those of the customer go on.
--
-- The web shop names members by their loyalty number; a guest's address is not looked up. Who
-- ordered as a guest has not said who he is, and an order of last year would change its buyer, and
-- all reports since, with every file that tells of an address.

with

-- tokens of names and addresses end before: only what analysis needs goes on
staged_customers as (

    select
        country,
        batch_date,
        customer_id,
        city,
        country_name,
        gender,
        birth_year,
        job_title
    from {{ ref('stg_customers') }}

),

contacts as (

    select * from {{ ref('int_crm_contacts') }}

),

{%- if is_incremental() and is_sliced() %}

changed_contacts as (

    select
        country,
        contact_id
    from contacts
    where {{ in_changed_days('country', 'valid_from') }}

    union

    select
        country,
        contact_id
    from {{ this }}
    where customer_id is null
        and (
            {{ in_changed_days('country', 'valid_from') }}
            or {{ in_changed_days('country', 'valid_to') }}
        )

),

changed_customers as (

    select
        country,
        customer_id
    from staged_customers
    where {{ in_changed_days('country', 'batch_date') }}

    union

    select
        country,
        customer_id
    from {{ this }}
    where customer_id is not null
        and {{ in_changed_days('country', 'valid_from') }}

    union

    select
        contacts.country,
        contacts.customer_id
    from contacts
    inner join changed_contacts
        on {{ same('changed_contacts', 'contacts', ['country', 'contact_id']) }}
    where contacts.customer_id is not null

),
{%- endif %}

touched_customers as (

    select staged_customers.*
    from staged_customers
    {%- if is_incremental() and is_sliced() %}
    inner join changed_customers
        on {{ same('changed_customers', 'staged_customers', ['country', 'customer_id']) }}
    {%- endif %}

),

customer_versions as (

    {{ versions_of(
        'touched_customers',
        ['country', 'customer_id'],
        ['city', 'country_name', 'gender', 'birth_year', 'job_title'],
    ) }}

),

distinct_customers as (

    select distinct
        country,
        customer_id
    from touched_customers

),

linked_contacts as (

    select contacts.*
    from contacts
    inner join distinct_customers
        on {{ same('distinct_customers', 'contacts', ['country', 'customer_id']) }}

),

days_of_change as (

    select
        country,
        customer_id,
        valid_from as batch_date
    from customer_versions

    union

    select
        country,
        customer_id,
        valid_from as batch_date
    from linked_contacts

    union

    select
        country,
        customer_id,
        valid_to as batch_date
    from linked_contacts
    where valid_to is not null

),

contacts_of_customers as (

    select
        days_of_change.batch_date,
        linked_contacts.*,
        row_number() over (
            partition by {{ prefixed('days_of_change', ['country', 'customer_id', 'batch_date']) }}
            -- an address says more than a telephone, then the contact that is there longest
            order by
                linked_contacts.matched_by asc nulls last,
                linked_contacts.created_at asc nulls last,
                linked_contacts.contact_id asc nulls last
        ) as place
    from days_of_change
    inner join linked_contacts
        on {{ same('linked_contacts', 'days_of_change', ['country', 'customer_id']) }}
        and {{ valid_on('linked_contacts', 'days_of_change.batch_date') }}

),

-- whoever is in the CRM system several times has agreed if all of them did
contacts_of_a_day as (

    select
        country,
        customer_id,
        batch_date,
        count(contact_id) as contact_count,
        {%- for attribute in (
            'contact_id', 'matched_by', 'mailing_city', 'mailing_country', 'birth_year', 'lead_source'
        ) %}
        max(case when place = 1 then {{ attribute }} end) as {{ attribute }},
        {%- endfor %}
        min(case when marketing_consent then 1 else 0 end) = 1 as marketing_consent,
        max(case when has_opted_out_of_email then 1 else 0 end) = 1 as has_opted_out_of_email,
        min(case when may_be_emailed then 1 else 0 end) = 1 as may_be_emailed,
        max(marketing_consent_at) as marketing_consent_at
    from contacts_of_customers
    group by country, customer_id, batch_date

),

states as (

    select
        customers.country,
        days_of_change.batch_date,
        'shop/' || cast(customers.customer_id as varchar) as customer_key,
        customers.customer_id,
        crm.contact_id,
        cast(coalesce(crm.contact_count, 0) as bigint) as contact_count,
        case when crm.contact_id is null then 'shop' else 'shop and crm' end as known_from,
        crm.matched_by,
        coalesce(customers.city, crm.mailing_city) as city,
        case when {{ is_address_of_crm }} then crm.mailing_country else customers.country_name end
            as country_name,
        case when {{ is_address_of_crm }} then 'crm' else 'shop' end as address_from,
        customers.gender,
        coalesce(customers.birth_year, crm.birth_year) as birth_year,
        case
            when customers.birth_year is not null then 'shop'
            when crm.birth_year is not null then 'crm'
        end as birth_year_from,
        customers.job_title,
        crm.lead_source,
        crm.marketing_consent,
        crm.has_opted_out_of_email,
        coalesce(crm.may_be_emailed, false) as may_be_emailed,
        crm.marketing_consent_at,
        true as is_member
    from days_of_change
    inner join customer_versions as customers
        on {{ same('customers', 'days_of_change', ['country', 'customer_id']) }}
        and {{ valid_on('customers', 'days_of_change.batch_date') }}
    left join contacts_of_a_day as crm
        on {{ same('crm', 'days_of_change', ['country', 'customer_id', 'batch_date']) }}

    union all

    select
        contacts.country,
        contacts.valid_from as batch_date,
        'crm/' || contacts.contact_id as customer_key,
        cast(null as bigint) as customer_id,
        contacts.contact_id,
        cast(1 as bigint) as contact_count,
        'crm' as known_from,
        cast(null as varchar) as matched_by,
        contacts.mailing_city as city,
        contacts.mailing_country as country_name,
        'crm' as address_from,
        cast(null as varchar) as gender,
        contacts.birth_year,
        case when contacts.birth_year is not null then 'crm' end as birth_year_from,
        cast(null as varchar) as job_title,
        contacts.lead_source,
        contacts.marketing_consent,
        contacts.has_opted_out_of_email,
        contacts.may_be_emailed,
        contacts.marketing_consent_at,
        contacts.customer_id is null and not contacts.is_deleted as is_member
    from contacts
    {%- if is_incremental() and is_sliced() %}
    inner join changed_contacts
        on {{ same('changed_contacts', 'contacts', ['country', 'contact_id']) }}
    {%- endif %}

),

versions as (

    {{ versions_of('states', key, attributes + ['is_member']) }}

)

select
    country,
    customer_key,
    customer_id,
    contact_id,
    contact_count,
    known_from,
    matched_by,
    city,
    country_name,
    address_from,
    gender,
    birth_year,
    birth_year_from,
    job_title,
    lead_source,
    marketing_consent,
    has_opted_out_of_email,
    may_be_emailed,
    marketing_consent_at,
    valid_from,
    valid_to,
    valid_to is null as is_current
from versions
where is_member
{{ in_slice_order() }}
