{#- Score 1 to 5 by the share of a group that is worse. -#}

{#- 5 is for who has at least four fifths of the group below him, 1 for who has less than one fifth.
    Equals have the same score, where NTILE would tear them apart by chance. Compared in integers:
    a quotient is rounded by one engine and not by the other.

    how_many_worse  of the group, less than how_many -#}
{% macro fifth_of(how_many_worse, how_many) -%}
    case
        {%- for score in (5, 4, 3, 2) %}
        when 5 * ({{ how_many_worse }}) >= {{ score - 1 }} * {{ how_many }} then {{ score }}
        {%- endfor %}
        else 1
    end
{%- endmacro %}
