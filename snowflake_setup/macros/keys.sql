{#- Public keys of a service user; a key that is no longer listed opens nothing. -#}
{% macro public_keys(user) -%}
alter user {{ retail }}_{{ user }} set rsa_public_key = '{{ env.public_keys[user][0] }}';
{% if env.public_keys[user] | length > 1 %}
alter user {{ retail }}_{{ user }} set rsa_public_key_2 = '{{ env.public_keys[user][1] }}';
{%- else %}
alter user {{ retail }}_{{ user }} unset rsa_public_key_2;
{%- endif %}
{%- endmacro %}
