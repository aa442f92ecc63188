-- RAW as loads write it: generated from the contracts of the feeds, the one place that knows columns.
-- A column that a contract gains is added here and by the next load, whichever comes first.
{% for table in raw_tables %}

create table if not exists {{ retail }}.raw.{{ table.name }} (
{% for name, type in table.columns.items() %}
    {{ name }} {{ type }}{{ ',' if not loop.last }}
{% endfor %}
)
comment = '{{ table.description | in_quotes }}';
{% for name, type in table.columns.items() %}
alter table {{ retail }}.raw.{{ table.name }} add column if not exists {{ name }} {{ type }};
{% endfor %}
{% endfor %}
