-- One role per country of the registry. {{ retail }}_analyst holds all of them; who works for two
-- countries is granted two.
{% for country in countries %}

create role if not exists {{ retail }}_analyst_{{ country.code | lower }}
    comment = 'Reads marts of {{ country.name | in_quotes }}, without personal data.';
grant role {{ retail }}_analyst_{{ country.code | lower }} to role {{ retail }}_analyst;
grant database role {{ retail }}.marts_r to role {{ retail }}_analyst_{{ country.code | lower }};
grant database role {{ retail }}.semantics_r to role {{ retail }}_analyst_{{ country.code | lower }};
grant usage on warehouse {{ retail }}_bi to role {{ retail }}_analyst_{{ country.code | lower }};
{% endfor %}
