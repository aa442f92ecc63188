-- Run once per environment, by a person with ACCOUNTADMIN, in a worksheet; harmless to repeat.
-- The only file that needs ACCOUNTADMIN. Everything after it runs as {{ retail }}_setup.
--
--   1. the role that sets everything else up, and its user
--   2. what has to be there before the first migration: database, warehouses
--   3. resource monitors, which only ACCOUNTADMIN may create and put onto warehouses
--   4. what the account tells of its use, which only ACCOUNTADMIN may hand on

-- 1 ------------------------------------------------------------------------------------------------
use role accountadmin;

create role if not exists {{ retail }}_setup
    comment = 'Sets up {{ retail }}: owns its database, warehouses, roles and policies.';
grant role {{ retail }}_setup to role sysadmin;

grant create database, create warehouse, create role, create user, create integration
    on account to role {{ retail }}_setup;
grant apply tag, apply masking policy, apply row access policy
    on account to role {{ retail }}_setup;
grant execute task on account to role {{ retail }}_setup with grant option;

create user if not exists {{ retail }}_setup
    type = service
    default_role = {{ retail }}_setup
    default_warehouse = {{ retail }}_load
    comment = 'Deploys the migrations of {{ retail }}.';
{{ public_keys('setup') }}
grant role {{ retail }}_setup to user {{ retail }}_setup;

-- 2 ------------------------------------------------------------------------------------------------
use role {{ retail }}_setup;

create database if not exists {{ retail }}
    comment = 'Retail platform, environment {{ env_name }}.';

create role if not exists {{ retail }}_usage
    comment = 'Reads what the account tells of its use: statements, credits.';
grant role {{ retail }}_usage to role sysadmin;
{% for name, warehouse in env.warehouses.items() %}

create warehouse if not exists {{ retail }}_{{ name }}
    warehouse_size = '{{ warehouse.size }}'
    auto_suspend = {{ warehouse.auto_suspend_seconds }}
    auto_resume = true
    initially_suspended = true
    comment = '{{ warehouse_purposes[name] }}';
alter warehouse {{ retail }}_{{ name }} set
    warehouse_size = '{{ warehouse.size }}'
    auto_suspend = {{ warehouse.auto_suspend_seconds }}
    auto_resume = true
    min_cluster_count = 1
    max_cluster_count = {{ warehouse.max_clusters }}
    scaling_policy = '{{ warehouse.scaling_policy }}'
    statement_timeout_in_seconds = {{ warehouse.statement_timeout_minutes * 60 }}
    statement_queued_timeout_in_seconds = {{ warehouse.queued_timeout_minutes * 60 }};
{% endfor %}

-- 3 ------------------------------------------------------------------------------------------------
use role accountadmin;
{% for name, warehouse in env.warehouses.items() %}

create resource monitor if not exists {{ retail }}_{{ name }} with
    credit_quota = {{ warehouse.monthly_credits }}
    frequency = monthly
    start_timestamp = immediately
    triggers
        on 75 percent do notify
        on 90 percent do suspend
        on 100 percent do suspend_immediate;
alter resource monitor {{ retail }}_{{ name }} set credit_quota = {{ warehouse.monthly_credits }};
alter warehouse {{ retail }}_{{ name }} set resource_monitor = {{ retail }}_{{ name }};
{% endfor %}

-- 4 ------------------------------------------------------------------------------------------------
-- Statements are in the one, credits in the other. The migrations hand the role on to those who
-- watch the cost; analysts never get it, because texts of statements are in there.
grant database role snowflake.governance_viewer to role {{ retail }}_usage;
grant database role snowflake.usage_viewer to role {{ retail }}_usage;
