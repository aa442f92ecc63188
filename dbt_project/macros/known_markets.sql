{#- Written by `make markets`: the countries of the market registry. -#}
{% macro known_markets() %}
    {% do return({
        'CN': {'name': 'China', 'currency': 'CNY', 'timezone': 'Asia/Shanghai'},
        'DE': {'name': 'Germany', 'currency': 'EUR', 'timezone': 'Europe/Berlin'},
        'ES': {'name': 'Spain', 'currency': 'EUR', 'timezone': 'Europe/Madrid'},
        'FR': {'name': 'France', 'currency': 'EUR', 'timezone': 'Europe/Paris'},
        'GB': {'name': 'United Kingdom', 'currency': 'GBP', 'timezone': 'Europe/London'},
        'PT': {'name': 'Portugal', 'currency': 'EUR', 'timezone': 'Europe/Lisbon'},
        'US': {'name': 'United States', 'currency': 'USD', 'timezone': 'America/New_York'},
    }) %}
{% endmacro %}
