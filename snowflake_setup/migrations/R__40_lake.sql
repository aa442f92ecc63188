-- The lake as Snowflake sees it. After the first run, DESC INTEGRATION {{ retail }}_lake shows
{% if env.lake_provider == 'S3' %}
-- the user and the external id that the IAM role has to trust.
{% elif env.lake_provider == 'GCS' %}
-- the service account that has to be given roles/storage.objectViewer on the bucket.
{% else %}
-- where to consent to the application that has to be given Storage Blob Data Reader.
{% endif %}

create storage integration if not exists {{ retail }}_lake
    type = external_stage
    storage_provider = '{{ env.lake_provider }}'
    enabled = true
{% if env.lake_role_arn %}
    storage_aws_role_arn = '{{ env.lake_role_arn }}'
{% elif env.lake_tenant_id %}
    azure_tenant_id = '{{ env.lake_tenant_id }}'
{% endif %}
    storage_allowed_locations = ('{{ env.lake_stage_url }}')
    comment = 'Reads the lake of {{ retail }}.';
alter storage integration {{ retail }}_lake set
{% if env.lake_role_arn %}
    storage_aws_role_arn = '{{ env.lake_role_arn }}'
{% elif env.lake_tenant_id %}
    azure_tenant_id = '{{ env.lake_tenant_id }}'
{% endif %}
    storage_allowed_locations = ('{{ env.lake_stage_url }}');

create file format if not exists {{ retail }}.raw.lake_parquet
    type = parquet
    use_logical_type = true
    comment = 'Rows that satisfied their contract: data/<feed>/.';
create file format if not exists {{ retail }}.raw.lake_json
    type = json
    comment = 'What a partition consists of: manifests/<feed>/.';

-- Exactly the root of the lake: `retail doctor` compares it with RETAIL_LAKE_URL.
create stage if not exists {{ retail }}.raw.lake
    url = '{{ env.lake_stage_url }}'
    storage_integration = {{ retail }}_lake
    comment = 'Root of the lake.';
alter stage {{ retail }}.raw.lake set
    url = '{{ env.lake_stage_url }}'
    storage_integration = {{ retail }}_lake;

grant usage on stage {{ retail }}.raw.lake to database role {{ retail }}.raw_w;
grant usage on file format {{ retail }}.raw.lake_parquet to database role {{ retail }}.raw_w;
grant usage on file format {{ retail }}.raw.lake_json to database role {{ retail }}.raw_w;
{% if env.failures %}
create notification integration if not exists {{ retail }}_failures
    enabled = true
    direction = outbound
    type = queue
    notification_provider = aws_sns
    aws_sns_topic_arn = '{{ env.failures.topic_arn }}'
    aws_sns_role_arn = '{{ env.failures.role_arn }}'
    comment = 'Told when a task or pipe of {{ retail }} fails.';
grant usage on integration {{ retail }}_failures to role {{ retail }}_loader;
{% endif %}
