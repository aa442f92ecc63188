-- Users of programs: no password, a key pair each. People come from your identity provider; grant
-- them functional roles.

create user if not exists {{ retail }}_platform
    type = service
    default_role = {{ retail }}_platform
    default_warehouse = {{ retail }}_load
    comment = 'The orchestrator.';
{{ public_keys('platform') }}
grant role {{ retail }}_platform to user {{ retail }}_platform;

create user if not exists {{ retail }}_bi
    type = service
    default_role = {{ retail }}_analyst
    default_warehouse = {{ retail }}_bi
    comment = 'The dashboard.';
{{ public_keys('bi') }}
grant role {{ retail }}_analyst to user {{ retail }}_bi;
