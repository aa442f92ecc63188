-- Views over what the account tells of its use. Whoever makes a view lends his rights to those who
-- read it, so only the platform may do either.
create schema if not exists {{ retail }}.cost
    comment = 'Credits by asset, country and day; idle time and size of warehouses.';
alter schema {{ retail }}.cost enable managed access;

create database role if not exists {{ retail }}.cost_w
    comment = 'Makes and reads the views of cost.';
grant usage on database {{ retail }} to database role {{ retail }}.cost_w;
grant usage, create view on schema {{ retail }}.cost to database role {{ retail }}.cost_w;
grant database role {{ retail }}.cost_w to role {{ retail }}_transformer;
grant role {{ retail }}_usage to role {{ retail }}_transformer;
