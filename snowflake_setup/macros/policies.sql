{#- Bodies of policies, each said once. -#}

{% macro policy(kind, name, signature, body, comment) -%}
create {{ kind }} if not exists {{ retail }}.governance.{{ name }}
    as {{ signature }} -> {{ body }}
    comment = '{{ comment }}';
alter {{ kind }} {{ retail }}.governance.{{ name }} set body -> {{ body }};
{%- endmacro %}

{% macro role(name) %}'{{ (retail ~ '_' ~ name) | upper }}'{% endmacro %}

{#- A value for some roles, asterisks for all others. -#}
{% macro mask(roles) -%}
case
        when current_role() in (
{% for name in roles %}
            {{ role(name) }}{{ ',' if not loop.last }}
{% endfor %}
        ) then val
        else '***'
    end
{%- endmacro %}

{% macro rows_of_country() -%}
case
        when country = 'ALL' then true
        when is_role_in_session({{ role('all_countries') }}) then true
{% for c in countries %}
        when country = '{{ c.code }}' then is_role_in_session({{ role('analyst_' ~ c.code) }})
{% endfor %}
        else false
    end
{%- endmacro %}
