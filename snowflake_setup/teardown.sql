-- Takes environment {{ env_name }} away with all its data. Run by a person with ACCOUNTADMIN, in a
-- worksheet; harmless to repeat. The lake is not touched: set up again, a backfill restores all.
use role accountadmin;

-- Before what they depend on; Time Travel keeps the database for UNDROP.
drop database if exists {{ retail }};
drop integration if exists {{ retail }}_lake;
drop integration if exists {{ retail }}_failures;
{% for name in env.warehouses %}
drop warehouse if exists {{ retail }}_{{ name }};
drop resource monitor if exists {{ retail }}_{{ name }};
{% endfor %}
{% for user in env.public_keys %}
drop user if exists {{ retail }}_{{ user }};
{% endfor %}
{% for role in teardown_roles %}
drop role if exists {{ role }};
{% endfor %}
