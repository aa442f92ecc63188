-- Columns of RAW that stand for personal data, generated from the contracts.
{% for column in protected_columns %}
alter table {{ retail }}.{{ column.schema }}.{{ column.table }} modify column {{ column.name }}
    set tag {{ retail }}.governance.{{ column.tag }} = '{{ column.holds }}';
{% endfor %}
