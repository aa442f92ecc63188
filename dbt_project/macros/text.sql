{#- Text as analysts expect it: no padding, and blank means missing. -#}
{% macro clean_text(column) -%}
    nullif(trim({{ column }}), '')
{%- endmacro %}

{#- Codes compare without regard to case or padding. -#}
{% macro clean_code(column) -%}
    nullif(upper(trim({{ column }})), '')
{%- endmacro %}

{#- Receipt of the sale that a return takes back: a return carries the counter of its sale. -#}
{% macro sale_of_return(invoice_id) -%}
    'INV' || substr({{ invoice_id }}, 4)
{%- endmacro %}
