{%- set key = ['country', 'contact_id'] -%}
{%- set attributes = [
    'customer_id',
    'matched_by',
    'mailing_city',
    'mailing_country',
    'birth_year',
    'lead_source',
    'marketing_consent',
    'has_opted_out_of_email',
    'may_be_emailed',
    'marketing_consent_at',
    'created_at',
    'is_deleted',
] -%}
{{ config(
    tags=['batch_day', 'country'],
    incremental_strategy='replace_keys',
    unique_key=key,
    meta={'slice_day': 'valid_from', 'later_days': true},
) }}

-- Which shop customer a contact is, on every day: the one with the same e-mail address, as far as
-- files up to that day tell; without an address on either side the one with the same telephone
-- number. Two different addresses are two people, who may share a telephone. Of several customers
-- (a family, somebody who enrolled twice) it is the one whose loyalty number the CRM system has
-- noted, else the one who enrolled first, whose number is lowest. The noted number alone links
-- nothing: somebody typed it.
--
-- An answer of a later day may depend on a row of these slices, so contacts are touched that have,
-- or share a token with a customer who has, any row from the first day of the slices on.

with

staged_contacts as (

    select * from {{ ref('stg_crm_contacts') }}

),

staged_customers as (

    select
        country,
        batch_date,
        customer_id,
        email_token,
        telephone_token as phone_token
    from {{ ref('stg_customers') }}

),

{%- if is_incremental() and is_sliced() %}

changed_customers as (

    select
        country,
        customer_id
    from staged_customers
    where {{ in_changed_days('country', 'batch_date') }}
    group by country, customer_id

),

tokens_of_changed_customers as (

    select distinct
        staged_customers.country,
        staged_customers.email_token,
        staged_customers.phone_token
    from staged_customers
    inner join changed_customers
        on {{ same('changed_customers', 'staged_customers', ['country', 'customer_id']) }}

),

touched as (

    select {{ key | join(', ') }}
    from staged_contacts
    where {{ in_changed_days('country', 'batch_date') }}

    union

    select {{ key | join(', ') }}
    from {{ this }}
    where {{ in_changed_days('country', 'valid_from') }}
    {%- for token in ('email_token', 'phone_token') %}

    union

    select {{ prefixed('staged_contacts', key) }}
    from staged_contacts
    inner join tokens_of_changed_customers
        on {{ same('tokens_of_changed_customers', 'staged_contacts', ['country', token]) }}
    {%- endfor %}

),
{%- endif %}

touched_contacts as (

    select staged_contacts.*
    from staged_contacts
    {%- if is_incremental() and is_sliced() %}
    inner join touched
        on {{ same('touched', 'staged_contacts', key) }}
    {%- endif %}
    -- the CRM system knows when a contact was changed: an older version that comes later is no news
    qualify coalesce(
        staged_contacts.last_modified_at >= max(staged_contacts.last_modified_at) over (
            partition by {{ prefixed('staged_contacts', key) }}
            order by staged_contacts.batch_date asc nulls last
            rows between unbounded preceding and 1 preceding
        ),
        true
    )

),

-- whoever ever had a token that the contact ever had
candidates as (
    {% for token in ('email_token', 'phone_token') %}
    select
        touched_contacts.country,
        touched_contacts.contact_id,
        staged_customers.customer_id
    from touched_contacts
    inner join staged_customers
        on {{ same('staged_customers', 'touched_contacts', ['country', token]) }}
    {{ 'union' if not loop.last }}
    {%- endfor %}

),

candidate_customers as (

    select distinct
        country,
        customer_id
    from candidates

),

candidates_staged as (

    select staged_customers.*
    from staged_customers
    inner join candidate_customers
        on {{ same('candidate_customers', 'staged_customers', ['country', 'customer_id']) }}

),

-- files repeat what has not changed; the fewer versions there are, the fewer have to be compared
contact_versions as (

    {{ versions_of(
        'touched_contacts',
        key,
        attributes[2:] + ['customer_id', 'email_token', 'phone_token'],
    ) }}

),

customer_versions as (

    {{ versions_of(
        'candidates_staged',
        ['country', 'customer_id'],
        ['email_token', 'phone_token'],
    ) }}

),

days_of_change as (

    select
        country,
        contact_id,
        valid_from as batch_date
    from contact_versions

    union

    select
        candidates.country,
        candidates.contact_id,
        customer_versions.valid_from as batch_date
    from candidates
    inner join customer_versions
        on {{ same('customer_versions', 'candidates', ['country', 'customer_id']) }}

),

matches as (

    select
        days_of_change.country,
        days_of_change.contact_id,
        days_of_change.batch_date,
        customers.customer_id,
        case when customers.email_token = contacts.email_token then 'email' else 'phone' end
            as matched_by,
        coalesce(customers.customer_id = contacts.customer_id, false) as is_noted
    from days_of_change
    inner join contact_versions as contacts
        on {{ same('contacts', 'days_of_change', key) }}
        and {{ valid_on('contacts', 'days_of_change.batch_date') }}
    inner join candidates
        on {{ same('candidates', 'contacts', key) }}
    inner join customer_versions as customers
        on {{ same('customers', 'candidates', ['country', 'customer_id']) }}
        and {{ valid_on('customers', 'days_of_change.batch_date') }}
    where not contacts.is_deleted
        and (
            coalesce(customers.email_token = contacts.email_token, false)
            or (
                coalesce(customers.phone_token = contacts.phone_token, false)
                and (customers.email_token is null or contacts.email_token is null)
            )
        )

),

best_matches as (

    select * from matches
    qualify row_number() over (
        partition by country, contact_id, batch_date
        order by
            matched_by asc nulls last, -- email before phone
            case when is_noted then 0 else 1 end asc nulls last,
            customer_id asc nulls last
    ) = 1

),

states as (

    select
        days_of_change.country,
        days_of_change.batch_date,
        days_of_change.contact_id,
        best_matches.customer_id,
        best_matches.matched_by,
        {%- for attribute in attributes[2:] %}
        contacts.{{ attribute }}{{ ',' if not loop.last }}
        {%- endfor %}
    from days_of_change
    inner join contact_versions as contacts
        on {{ same('contacts', 'days_of_change', key) }}
        and {{ valid_on('contacts', 'days_of_change.batch_date') }}
    left join best_matches
        on {{ same('best_matches', 'days_of_change', key + ['batch_date']) }}

),

versions as (

    {{ versions_of('states', key, attributes) }}

)

select
    country,
    contact_id,
    customer_id,
    matched_by,
    mailing_city,
    mailing_country,
    birth_year,
    lead_source,
    marketing_consent,
    has_opted_out_of_email,
    may_be_emailed,
    marketing_consent_at,
    created_at,
    is_deleted,
    valid_from,
    valid_to,
    valid_to is null as is_current
from versions
{{ in_slice_order() }}
