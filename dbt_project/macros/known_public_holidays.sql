{#- Written by `make holidays`: public holidays of whole countries from 2020 to 2035. -#}
{% macro known_public_holidays() -%}
CN,2020-01-01,New Year's Day
CN,2020-01-24,Day off (substituted from 01/19/2020)
CN,2020-01-25,Chinese New Year (Spring Festival)
CN,2020-01-26,Chinese New Year (Spring Festival)
CN,2020-01-27,Chinese New Year (Spring Festival)
CN,2020-01-28,Chinese New Year (Spring Festival) (observed)
CN,2020-01-29,Chinese New Year (Spring Festival) (observed)
CN,2020-01-30,Chinese New Year (Spring Festival) (observed)
CN,2020-01-31,Chinese New Year Extended Holiday
CN,2020-02-01,Chinese New Year Extended Holiday
CN,2020-02-02,Chinese New Year Extended Holiday
CN,2020-04-04,Tomb-Sweeping Day
CN,2020-04-06,Tomb-Sweeping Day (observed)
CN,2020-05-01,Labor Day
CN,2020-05-04,Day off (substituted from 04/26/2020)
CN,2020-05-05,Day off (substituted from 05/09/2020)
CN,2020-06-25,Dragon Boat Festival
CN,2020-06-26,Day off (substituted from 06/28/2020)
CN,2020-10-01,Mid-Autumn Festival; National Day
CN,2020-10-02,National Day
CN,2020-10-03,National Day
CN,2020-10-05,National Day (observed)
CN,2020-10-06,Mid-Autumn Festival (observed)
CN,2020-10-07,Day off (substituted from 09/27/2020)
CN,2020-10-08,Day off (substituted from 10/10/2020)
CN,2021-01-01,New Year's Day
CN,2021-02-11,Day off (substituted from 02/07/2021)
CN,2021-02-12,Chinese New Year (Spring Festival)
CN,2021-02-13,Chinese New Year (Spring Festival)
CN,2021-02-14,Chinese New Year (Spring Festival)
CN,2021-02-15,Chinese New Year (Spring Festival) (observed)
CN,2021-02-16,Chinese New Year (Spring Festival) (observed)
CN,2021-02-17,Day off (substituted from 02/20/2021)
CN,2021-04-04,Tomb-Sweeping Day
CN,2021-04-05,Tomb-Sweeping Day (observed)
CN,2021-05-01,Labor Day
CN,2021-05-03,Labor Day (observed)
CN,2021-05-04,Day off (substituted from 04/25/2021)
CN,2021-05-05,Day off (substituted from 05/08/2021)
CN,2021-06-14,Dragon Boat Festival
CN,2021-09-20,Day off (substituted from 09/18/2021)
CN,2021-09-21,Mid-Autumn Festival
CN,2021-10-01,National Day
CN,2021-10-02,National Day
CN,2021-10-03,National Day
CN,2021-10-04,National Day (observed)
CN,2021-10-05,National Day (observed)
CN,2021-10-06,Day off (substituted from 09/26/2021)
CN,2021-10-07,Day off (substituted from 10/09/2021)
CN,2022-01-01,New Year's Day
CN,2022-01-03,New Year's Day (observed)
CN,2022-01-31,Day off (substituted from 01/29/2022)
CN,2022-02-01,Chinese New Year (Spring Festival)
CN,2022-02-02,Chinese New Year (Spring Festival)
CN,2022-02-03,Chinese New Year (Spring Festival)
CN,2022-02-04,Day off (substituted from 01/30/2022)
CN,2022-04-04,Day off (substituted from 04/02/2022)
CN,2022-04-05,Tomb-Sweeping Day
CN,2022-05-01,Labor Day
CN,2022-05-02,Labor Day (observed)
CN,2022-05-03,Day off (substituted from 04/24/2022)
CN,2022-05-04,Day off (substituted from 05/07/2022)
CN,2022-06-03,Dragon Boat Festival
CN,2022-09-10,Mid-Autumn Festival
CN,2022-09-12,Mid-Autumn Festival (observed)
CN,2022-10-01,National Day
CN,2022-10-02,National Day
CN,2022-10-03,National Day
CN,2022-10-04,National Day (observed)
CN,2022-10-05,National Day (observed)
CN,2022-10-06,Day off (substituted from 10/08/2022)
CN,2022-10-07,Day off (substituted from 10/09/2022)
CN,2023-01-01,New Year's Day
CN,2023-01-02,New Year's Day (observed)
CN,2023-01-22,Chinese New Year (Spring Festival)
CN,2023-01-23,Chinese New Year (Spring Festival)
CN,2023-01-24,Chinese New Year (Spring Festival)
CN,2023-01-25,Chinese New Year (Spring Festival) (observed)
CN,2023-01-26,Day off (substituted from 01/28/2023)
CN,2023-01-27,Day off (substituted from 01/29/2023)
CN,2023-04-05,Tomb-Sweeping Day
CN,2023-05-01,Labor Day
CN,2023-05-02,Day off (substituted from 04/23/2023)
CN,2023-05-03,Day off (substituted from 05/06/2023)
CN,2023-06-22,Dragon Boat Festival
CN,2023-06-23,Day off (substituted from 06/25/2023)
CN,2023-09-29,Mid-Autumn Festival
CN,2023-10-01,National Day
CN,2023-10-02,National Day
CN,2023-10-03,National Day
CN,2023-10-04,National Day (observed)
CN,2023-10-05,Day off (substituted from 10/07/2023)
CN,2023-10-06,Day off (substituted from 10/08/2023)
CN,2024-01-01,New Year's Day
CN,2024-02-10,Chinese New Year (Spring Festival)
CN,2024-02-11,Chinese New Year (Spring Festival)
CN,2024-02-12,Chinese New Year (Spring Festival)
CN,2024-02-13,Chinese New Year (Spring Festival) (observed)
CN,2024-02-14,Chinese New Year (Spring Festival) (observed)
CN,2024-02-15,Day off (substituted from 02/04/2024)
CN,2024-02-16,Day off (substituted from 02/18/2024)
CN,2024-04-04,Tomb-Sweeping Day
CN,2024-04-05,Day off (substituted from 04/07/2024)
CN,2024-05-01,Labor Day
CN,2024-05-02,Day off (substituted from 04/28/2024)
CN,2024-05-03,Day off (substituted from 05/11/2024)
CN,2024-06-10,Dragon Boat Festival
CN,2024-09-16,Day off (substituted from 09/14/2024)
CN,2024-09-17,Mid-Autumn Festival
CN,2024-10-01,National Day
CN,2024-10-02,National Day
CN,2024-10-03,National Day
CN,2024-10-04,Day off (substituted from 09/29/2024)
CN,2024-10-07,Day off (substituted from 10/12/2024)
CN,2025-01-01,New Year's Day
CN,2025-01-28,Chinese New Year's Eve
CN,2025-01-29,Chinese New Year (Spring Festival)
CN,2025-01-30,Chinese New Year (Spring Festival)
CN,2025-01-31,Chinese New Year (Spring Festival)
CN,2025-02-03,Day off (substituted from 01/26/2025)
CN,2025-02-04,Day off (substituted from 02/08/2025)
CN,2025-04-04,Tomb-Sweeping Day
CN,2025-05-01,Labor Day
CN,2025-05-02,Labor Day
CN,2025-05-05,Day off (substituted from 04/27/2025)
CN,2025-05-31,Dragon Boat Festival
CN,2025-06-02,Dragon Boat Festival (observed)
CN,2025-10-01,National Day
CN,2025-10-02,National Day
CN,2025-10-03,National Day
CN,2025-10-06,Mid-Autumn Festival
CN,2025-10-07,Day off (substituted from 09/28/2025)
CN,2025-10-08,Day off (substituted from 10/11/2025)
CN,2026-01-01,New Year's Day
CN,2026-01-02,Day off (substituted from 01/04/2026)
CN,2026-02-16,Chinese New Year's Eve
CN,2026-02-17,Chinese New Year (Spring Festival)
CN,2026-02-18,Chinese New Year (Spring Festival)
CN,2026-02-19,Chinese New Year (Spring Festival)
CN,2026-02-20,Day off (substituted from 02/14/2026)
CN,2026-02-23,Day off (substituted from 02/28/2026)
CN,2026-04-05,Tomb-Sweeping Day
CN,2026-04-06,Tomb-Sweeping Day (observed)
CN,2026-05-01,Labor Day
CN,2026-05-02,Labor Day
CN,2026-05-04,Labor Day (observed)
CN,2026-05-05,Day off (substituted from 05/09/2026)
CN,2026-06-19,Dragon Boat Festival
CN,2026-09-25,Mid-Autumn Festival
CN,2026-10-01,National Day
CN,2026-10-02,National Day
CN,2026-10-03,National Day
CN,2026-10-05,National Day (observed)
CN,2026-10-06,Day off (substituted from 09/20/2026)
CN,2026-10-07,Day off (substituted from 10/10/2026)
CN,2027-01-01,New Year's Day
CN,2027-02-05,Chinese New Year's Eve
CN,2027-02-06,Chinese New Year (Spring Festival)
CN,2027-02-07,Chinese New Year (Spring Festival)
CN,2027-02-08,Chinese New Year (Spring Festival)
CN,2027-02-09,Chinese New Year (Spring Festival) (observed)
CN,2027-02-10,Chinese New Year (Spring Festival) (observed)
CN,2027-04-05,Tomb-Sweeping Day
CN,2027-05-01,Labor Day
CN,2027-05-02,Labor Day
CN,2027-05-03,Labor Day (observed)
CN,2027-05-04,Labor Day (observed)
CN,2027-06-09,Dragon Boat Festival
CN,2027-09-15,Mid-Autumn Festival
CN,2027-10-01,National Day
CN,2027-10-02,National Day
CN,2027-10-03,National Day
CN,2027-10-04,National Day (observed)
CN,2027-10-05,National Day (observed)
CN,2028-01-01,New Year's Day
CN,2028-01-03,New Year's Day (observed)
CN,2028-01-25,Chinese New Year's Eve
CN,2028-01-26,Chinese New Year (Spring Festival)
CN,2028-01-27,Chinese New Year (Spring Festival)
CN,2028-01-28,Chinese New Year (Spring Festival)
CN,2028-04-04,Tomb-Sweeping Day
CN,2028-05-01,Labor Day
CN,2028-05-02,Labor Day
CN,2028-05-28,Dragon Boat Festival
CN,2028-05-29,Dragon Boat Festival (observed)
CN,2028-10-01,National Day
CN,2028-10-02,National Day
CN,2028-10-03,Mid-Autumn Festival; National Day
CN,2028-10-04,National Day (observed)
CN,2029-01-01,New Year's Day
CN,2029-02-12,Chinese New Year's Eve
CN,2029-02-13,Chinese New Year (Spring Festival)
CN,2029-02-14,Chinese New Year (Spring Festival)
CN,2029-02-15,Chinese New Year (Spring Festival)
CN,2029-04-04,Tomb-Sweeping Day
CN,2029-05-01,Labor Day
CN,2029-05-02,Labor Day
CN,2029-06-16,Dragon Boat Festival
CN,2029-06-18,Dragon Boat Festival (observed)
CN,2029-09-22,Mid-Autumn Festival
CN,2029-09-24,Mid-Autumn Festival (observed)
CN,2029-10-01,National Day
CN,2029-10-02,National Day
CN,2029-10-03,National Day
CN,2030-01-01,New Year's Day
CN,2030-02-02,Chinese New Year's Eve
CN,2030-02-03,Chinese New Year (Spring Festival)
CN,2030-02-04,Chinese New Year (Spring Festival)
CN,2030-02-05,Chinese New Year (Spring Festival)
CN,2030-02-06,Chinese New Year's Eve (observed)
CN,2030-02-07,Chinese New Year (Spring Festival) (observed)
CN,2030-04-05,Tomb-Sweeping Day
CN,2030-05-01,Labor Day
CN,2030-05-02,Labor Day
CN,2030-06-05,Dragon Boat Festival
CN,2030-09-12,Mid-Autumn Festival
CN,2030-10-01,National Day
CN,2030-10-02,National Day
CN,2030-10-03,National Day
CN,2031-01-01,New Year's Day
CN,2031-01-22,Chinese New Year's Eve
CN,2031-01-23,Chinese New Year (Spring Festival)
CN,2031-01-24,Chinese New Year (Spring Festival)
CN,2031-01-25,Chinese New Year (Spring Festival)
CN,2031-01-27,Chinese New Year (Spring Festival) (observed)
CN,2031-04-05,Tomb-Sweeping Day
CN,2031-04-07,Tomb-Sweeping Day (observed)
CN,2031-05-01,Labor Day
CN,2031-05-02,Labor Day
CN,2031-06-24,Dragon Boat Festival
CN,2031-10-01,Mid-Autumn Festival; National Day
CN,2031-10-02,National Day
CN,2031-10-03,National Day
CN,2032-01-01,New Year's Day
CN,2032-02-10,Chinese New Year's Eve
CN,2032-02-11,Chinese New Year (Spring Festival)
CN,2032-02-12,Chinese New Year (Spring Festival)
CN,2032-02-13,Chinese New Year (Spring Festival)
CN,2032-04-04,Tomb-Sweeping Day
CN,2032-04-05,Tomb-Sweeping Day (observed)
CN,2032-05-01,Labor Day
CN,2032-05-02,Labor Day
CN,2032-05-03,Labor Day (observed)
CN,2032-05-04,Labor Day (observed)
CN,2032-06-12,Dragon Boat Festival
CN,2032-06-14,Dragon Boat Festival (observed)
CN,2032-09-19,Mid-Autumn Festival
CN,2032-09-20,Mid-Autumn Festival (observed)
CN,2032-10-01,National Day
CN,2032-10-02,National Day
CN,2032-10-03,National Day
CN,2032-10-04,National Day (observed)
CN,2032-10-05,National Day (observed)
CN,2033-01-01,New Year's Day
CN,2033-01-03,New Year's Day (observed)
CN,2033-01-30,Chinese New Year's Eve
CN,2033-01-31,Chinese New Year (Spring Festival)
CN,2033-02-01,Chinese New Year (Spring Festival)
CN,2033-02-02,Chinese New Year (Spring Festival)
CN,2033-02-03,Chinese New Year's Eve (observed)
CN,2033-04-04,Tomb-Sweeping Day
CN,2033-05-01,Labor Day
CN,2033-05-02,Labor Day
CN,2033-05-03,Labor Day (observed)
CN,2033-06-01,Dragon Boat Festival
CN,2033-09-08,Mid-Autumn Festival
CN,2033-10-01,National Day
CN,2033-10-02,National Day
CN,2033-10-03,National Day
CN,2033-10-04,National Day (observed)
CN,2033-10-05,National Day (observed)
CN,2034-01-01,New Year's Day
CN,2034-01-02,New Year's Day (observed)
CN,2034-02-18,Chinese New Year's Eve
CN,2034-02-19,Chinese New Year (Spring Festival)
CN,2034-02-20,Chinese New Year (Spring Festival)
CN,2034-02-21,Chinese New Year (Spring Festival)
CN,2034-02-22,Chinese New Year's Eve (observed)
CN,2034-02-23,Chinese New Year (Spring Festival) (observed)
CN,2034-04-05,Tomb-Sweeping Day
CN,2034-05-01,Labor Day
CN,2034-05-02,Labor Day
CN,2034-06-20,Dragon Boat Festival
CN,2034-09-27,Mid-Autumn Festival
CN,2034-10-01,National Day
CN,2034-10-02,National Day
CN,2034-10-03,National Day
CN,2034-10-04,National Day (observed)
CN,2035-01-01,New Year's Day
CN,2035-02-07,Chinese New Year's Eve
CN,2035-02-08,Chinese New Year (Spring Festival)
CN,2035-02-09,Chinese New Year (Spring Festival)
CN,2035-02-10,Chinese New Year (Spring Festival)
CN,2035-02-12,Chinese New Year (Spring Festival) (observed)
CN,2035-04-05,Tomb-Sweeping Day
CN,2035-05-01,Labor Day
CN,2035-05-02,Labor Day
CN,2035-06-10,Dragon Boat Festival
CN,2035-06-11,Dragon Boat Festival (observed)
CN,2035-09-16,Mid-Autumn Festival
CN,2035-09-17,Mid-Autumn Festival (observed)
CN,2035-10-01,National Day
CN,2035-10-02,National Day
CN,2035-10-03,National Day
DE,2020-01-01,New Year's Day
DE,2020-04-10,Good Friday
DE,2020-04-13,Easter Monday
DE,2020-05-01,Labor Day
DE,2020-05-21,Ascension Day
DE,2020-06-01,Pentecost Monday
DE,2020-10-03,German Unity Day
DE,2020-12-25,Christmas Day
DE,2020-12-26,Second Day of Christmas
DE,2021-01-01,New Year's Day
DE,2021-04-02,Good Friday
DE,2021-04-05,Easter Monday
DE,2021-05-01,Labor Day
DE,2021-05-13,Ascension Day
DE,2021-05-24,Pentecost Monday
DE,2021-10-03,German Unity Day
DE,2021-12-25,Christmas Day
DE,2021-12-26,Second Day of Christmas
DE,2022-01-01,New Year's Day
DE,2022-04-15,Good Friday
DE,2022-04-18,Easter Monday
DE,2022-05-01,Labor Day
DE,2022-05-26,Ascension Day
DE,2022-06-06,Pentecost Monday
DE,2022-10-03,German Unity Day
DE,2022-12-25,Christmas Day
DE,2022-12-26,Second Day of Christmas
DE,2023-01-01,New Year's Day
DE,2023-04-07,Good Friday
DE,2023-04-10,Easter Monday
DE,2023-05-01,Labor Day
DE,2023-05-18,Ascension Day
DE,2023-05-29,Pentecost Monday
DE,2023-10-03,German Unity Day
DE,2023-12-25,Christmas Day
DE,2023-12-26,Second Day of Christmas
DE,2024-01-01,New Year's Day
DE,2024-03-29,Good Friday
DE,2024-04-01,Easter Monday
DE,2024-05-01,Labor Day
DE,2024-05-09,Ascension Day
DE,2024-05-20,Pentecost Monday
DE,2024-10-03,German Unity Day
DE,2024-12-25,Christmas Day
DE,2024-12-26,Second Day of Christmas
DE,2025-01-01,New Year's Day
DE,2025-04-18,Good Friday
DE,2025-04-21,Easter Monday
DE,2025-05-01,Labor Day
DE,2025-05-29,Ascension Day
DE,2025-06-09,Pentecost Monday
DE,2025-10-03,German Unity Day
DE,2025-12-25,Christmas Day
DE,2025-12-26,Second Day of Christmas
DE,2026-01-01,New Year's Day
DE,2026-04-03,Good Friday
DE,2026-04-06,Easter Monday
DE,2026-05-01,Labor Day
DE,2026-05-14,Ascension Day
DE,2026-05-25,Pentecost Monday
DE,2026-10-03,German Unity Day
DE,2026-12-25,Christmas Day
DE,2026-12-26,Second Day of Christmas
DE,2027-01-01,New Year's Day
DE,2027-03-26,Good Friday
DE,2027-03-29,Easter Monday
DE,2027-05-01,Labor Day
DE,2027-05-06,Ascension Day
DE,2027-05-17,Pentecost Monday
DE,2027-10-03,German Unity Day
DE,2027-12-25,Christmas Day
DE,2027-12-26,Second Day of Christmas
DE,2028-01-01,New Year's Day
DE,2028-04-14,Good Friday
DE,2028-04-17,Easter Monday
DE,2028-05-01,Labor Day
DE,2028-05-25,Ascension Day
DE,2028-06-05,Pentecost Monday
DE,2028-10-03,German Unity Day
DE,2028-12-25,Christmas Day
DE,2028-12-26,Second Day of Christmas
DE,2029-01-01,New Year's Day
DE,2029-03-30,Good Friday
DE,2029-04-02,Easter Monday
DE,2029-05-01,Labor Day
DE,2029-05-10,Ascension Day
DE,2029-05-21,Pentecost Monday
DE,2029-10-03,German Unity Day
DE,2029-12-25,Christmas Day
DE,2029-12-26,Second Day of Christmas
DE,2030-01-01,New Year's Day
DE,2030-04-19,Good Friday
DE,2030-04-22,Easter Monday
DE,2030-05-01,Labor Day
DE,2030-05-30,Ascension Day
DE,2030-06-10,Pentecost Monday
DE,2030-10-03,German Unity Day
DE,2030-12-25,Christmas Day
DE,2030-12-26,Second Day of Christmas
DE,2031-01-01,New Year's Day
DE,2031-04-11,Good Friday
DE,2031-04-14,Easter Monday
DE,2031-05-01,Labor Day
DE,2031-05-22,Ascension Day
DE,2031-06-02,Pentecost Monday
DE,2031-10-03,German Unity Day
DE,2031-12-25,Christmas Day
DE,2031-12-26,Second Day of Christmas
DE,2032-01-01,New Year's Day
DE,2032-03-26,Good Friday
DE,2032-03-29,Easter Monday
DE,2032-05-01,Labor Day
DE,2032-05-06,Ascension Day
DE,2032-05-17,Pentecost Monday
DE,2032-10-03,German Unity Day
DE,2032-12-25,Christmas Day
DE,2032-12-26,Second Day of Christmas
DE,2033-01-01,New Year's Day
DE,2033-04-15,Good Friday
DE,2033-04-18,Easter Monday
DE,2033-05-01,Labor Day
DE,2033-05-26,Ascension Day
DE,2033-06-06,Pentecost Monday
DE,2033-10-03,German Unity Day
DE,2033-12-25,Christmas Day
DE,2033-12-26,Second Day of Christmas
DE,2034-01-01,New Year's Day
DE,2034-04-07,Good Friday
DE,2034-04-10,Easter Monday
DE,2034-05-01,Labor Day
DE,2034-05-18,Ascension Day
DE,2034-05-29,Pentecost Monday
DE,2034-10-03,German Unity Day
DE,2034-12-25,Christmas Day
DE,2034-12-26,Second Day of Christmas
DE,2035-01-01,New Year's Day
DE,2035-03-23,Good Friday
DE,2035-03-26,Easter Monday
DE,2035-05-01,Labor Day
DE,2035-05-03,Ascension Day
DE,2035-05-14,Pentecost Monday
DE,2035-10-03,German Unity Day
DE,2035-12-25,Christmas Day
DE,2035-12-26,Second Day of Christmas
ES,2020-01-01,New Year's Day
ES,2020-01-06,Epiphany
ES,2020-04-10,Good Friday
ES,2020-05-01,Labor Day
ES,2020-08-15,Assumption Day
ES,2020-10-12,National Day
ES,2020-12-08,Immaculate Conception
ES,2020-12-25,Christmas Day
ES,2021-01-01,New Year's Day
ES,2021-01-06,Epiphany
ES,2021-04-02,Good Friday
ES,2021-05-01,Labor Day
ES,2021-10-12,National Day
ES,2021-11-01,All Saints' Day
ES,2021-12-06,Constitution Day
ES,2021-12-08,Immaculate Conception
ES,2021-12-25,Christmas Day
ES,2022-01-01,New Year's Day
ES,2022-01-06,Epiphany
ES,2022-04-15,Good Friday
ES,2022-08-15,Assumption Day
ES,2022-10-12,National Day
ES,2022-11-01,All Saints' Day
ES,2022-12-06,Constitution Day
ES,2022-12-08,Immaculate Conception
ES,2023-01-06,Epiphany
ES,2023-04-07,Good Friday
ES,2023-05-01,Labor Day
ES,2023-08-15,Assumption Day
ES,2023-10-12,National Day
ES,2023-11-01,All Saints' Day
ES,2023-12-06,Constitution Day
ES,2023-12-08,Immaculate Conception
ES,2023-12-25,Christmas Day
ES,2024-01-01,New Year's Day
ES,2024-01-06,Epiphany
ES,2024-03-29,Good Friday
ES,2024-05-01,Labor Day
ES,2024-08-15,Assumption Day
ES,2024-10-12,National Day
ES,2024-11-01,All Saints' Day
ES,2024-12-06,Constitution Day
ES,2024-12-25,Christmas Day
ES,2025-01-01,New Year's Day
ES,2025-01-06,Epiphany
ES,2025-04-18,Good Friday
ES,2025-05-01,Labor Day
ES,2025-08-15,Assumption Day
ES,2025-11-01,All Saints' Day
ES,2025-12-06,Constitution Day
ES,2025-12-08,Immaculate Conception
ES,2025-12-25,Christmas Day
ES,2026-01-01,New Year's Day
ES,2026-01-06,Epiphany
ES,2026-04-03,Good Friday
ES,2026-05-01,Labor Day
ES,2026-08-15,Assumption Day
ES,2026-10-12,National Day
ES,2026-12-08,Immaculate Conception
ES,2026-12-25,Christmas Day
ES,2027-01-01,New Year's Day
ES,2027-01-06,Epiphany
ES,2027-03-26,Good Friday
ES,2027-05-01,Labor Day
ES,2027-10-12,National Day
ES,2027-11-01,All Saints' Day
ES,2027-12-06,Constitution Day
ES,2027-12-08,Immaculate Conception
ES,2027-12-25,Christmas Day
ES,2028-01-01,New Year's Day
ES,2028-01-06,Epiphany
ES,2028-04-14,Good Friday
ES,2028-05-01,Labor Day
ES,2028-08-15,Assumption Day
ES,2028-10-12,National Day
ES,2028-11-01,All Saints' Day
ES,2028-12-06,Constitution Day
ES,2028-12-08,Immaculate Conception
ES,2028-12-25,Christmas Day
ES,2029-01-01,New Year's Day
ES,2029-01-06,Epiphany
ES,2029-03-30,Good Friday
ES,2029-05-01,Labor Day
ES,2029-08-15,Assumption Day
ES,2029-10-12,National Day
ES,2029-11-01,All Saints' Day
ES,2029-12-06,Constitution Day
ES,2029-12-08,Immaculate Conception
ES,2029-12-25,Christmas Day
ES,2030-01-01,New Year's Day
ES,2030-04-19,Good Friday
ES,2030-05-01,Labor Day
ES,2030-08-15,Assumption Day
ES,2030-10-12,National Day
ES,2030-11-01,All Saints' Day
ES,2030-12-06,Constitution Day
ES,2030-12-25,Christmas Day
ES,2031-01-01,New Year's Day
ES,2031-01-06,Epiphany
ES,2031-04-11,Good Friday
ES,2031-05-01,Labor Day
ES,2031-08-15,Assumption Day
ES,2031-11-01,All Saints' Day
ES,2031-12-06,Constitution Day
ES,2031-12-08,Immaculate Conception
ES,2031-12-25,Christmas Day
ES,2032-01-01,New Year's Day
ES,2032-01-06,Epiphany
ES,2032-03-26,Good Friday
ES,2032-05-01,Labor Day
ES,2032-10-12,National Day
ES,2032-11-01,All Saints' Day
ES,2032-12-06,Constitution Day
ES,2032-12-08,Immaculate Conception
ES,2032-12-25,Christmas Day
ES,2033-01-01,New Year's Day
ES,2033-01-06,Epiphany
ES,2033-04-15,Good Friday
ES,2033-08-15,Assumption Day
ES,2033-10-12,National Day
ES,2033-11-01,All Saints' Day
ES,2033-12-06,Constitution Day
ES,2033-12-08,Immaculate Conception
ES,2034-01-06,Epiphany
ES,2034-04-07,Good Friday
ES,2034-05-01,Labor Day
ES,2034-08-15,Assumption Day
ES,2034-10-12,National Day
ES,2034-11-01,All Saints' Day
ES,2034-12-06,Constitution Day
ES,2034-12-08,Immaculate Conception
ES,2034-12-25,Christmas Day
ES,2035-01-01,New Year's Day
ES,2035-01-06,Epiphany
ES,2035-03-23,Good Friday
ES,2035-05-01,Labor Day
ES,2035-08-15,Assumption Day
ES,2035-10-12,National Day
ES,2035-11-01,All Saints' Day
ES,2035-12-06,Constitution Day
ES,2035-12-08,Immaculate Conception
ES,2035-12-25,Christmas Day
FR,2020-01-01,New Year's Day
FR,2020-04-13,Easter Monday
FR,2020-05-01,Labor Day
FR,2020-05-08,Victory Day
FR,2020-05-21,Ascension Day
FR,2020-06-01,Pentecost Monday
FR,2020-07-14,National Day
FR,2020-08-15,Assumption Day
FR,2020-11-01,All Saints' Day
FR,2020-11-11,Armistice Day
FR,2020-12-25,Christmas Day
FR,2021-01-01,New Year's Day
FR,2021-04-05,Easter Monday
FR,2021-05-01,Labor Day
FR,2021-05-08,Victory Day
FR,2021-05-13,Ascension Day
FR,2021-05-24,Pentecost Monday
FR,2021-07-14,National Day
FR,2021-08-15,Assumption Day
FR,2021-11-01,All Saints' Day
FR,2021-11-11,Armistice Day
FR,2021-12-25,Christmas Day
FR,2022-01-01,New Year's Day
FR,2022-04-18,Easter Monday
FR,2022-05-01,Labor Day
FR,2022-05-08,Victory Day
FR,2022-05-26,Ascension Day
FR,2022-06-06,Pentecost Monday
FR,2022-07-14,National Day
FR,2022-08-15,Assumption Day
FR,2022-11-01,All Saints' Day
FR,2022-11-11,Armistice Day
FR,2022-12-25,Christmas Day
FR,2023-01-01,New Year's Day
FR,2023-04-10,Easter Monday
FR,2023-05-01,Labor Day
FR,2023-05-08,Victory Day
FR,2023-05-18,Ascension Day
FR,2023-05-29,Pentecost Monday
FR,2023-07-14,National Day
FR,2023-08-15,Assumption Day
FR,2023-11-01,All Saints' Day
FR,2023-11-11,Armistice Day
FR,2023-12-25,Christmas Day
FR,2024-01-01,New Year's Day
FR,2024-04-01,Easter Monday
FR,2024-05-01,Labor Day
FR,2024-05-08,Victory Day
FR,2024-05-09,Ascension Day
FR,2024-05-20,Pentecost Monday
FR,2024-07-14,National Day
FR,2024-08-15,Assumption Day
FR,2024-11-01,All Saints' Day
FR,2024-11-11,Armistice Day
FR,2024-12-25,Christmas Day
FR,2025-01-01,New Year's Day
FR,2025-04-21,Easter Monday
FR,2025-05-01,Labor Day
FR,2025-05-08,Victory Day
FR,2025-05-29,Ascension Day
FR,2025-06-09,Pentecost Monday
FR,2025-07-14,National Day
FR,2025-08-15,Assumption Day
FR,2025-11-01,All Saints' Day
FR,2025-11-11,Armistice Day
FR,2025-12-25,Christmas Day
FR,2026-01-01,New Year's Day
FR,2026-04-06,Easter Monday
FR,2026-05-01,Labor Day
FR,2026-05-08,Victory Day
FR,2026-05-14,Ascension Day
FR,2026-05-25,Pentecost Monday
FR,2026-07-14,National Day
FR,2026-08-15,Assumption Day
FR,2026-11-01,All Saints' Day
FR,2026-11-11,Armistice Day
FR,2026-12-25,Christmas Day
FR,2027-01-01,New Year's Day
FR,2027-03-29,Easter Monday
FR,2027-05-01,Labor Day
FR,2027-05-06,Ascension Day
FR,2027-05-08,Victory Day
FR,2027-05-17,Pentecost Monday
FR,2027-07-14,National Day
FR,2027-08-15,Assumption Day
FR,2027-11-01,All Saints' Day
FR,2027-11-11,Armistice Day
FR,2027-12-25,Christmas Day
FR,2028-01-01,New Year's Day
FR,2028-04-17,Easter Monday
FR,2028-05-01,Labor Day
FR,2028-05-08,Victory Day
FR,2028-05-25,Ascension Day
FR,2028-06-05,Pentecost Monday
FR,2028-07-14,National Day
FR,2028-08-15,Assumption Day
FR,2028-11-01,All Saints' Day
FR,2028-11-11,Armistice Day
FR,2028-12-25,Christmas Day
FR,2029-01-01,New Year's Day
FR,2029-04-02,Easter Monday
FR,2029-05-01,Labor Day
FR,2029-05-08,Victory Day
FR,2029-05-10,Ascension Day
FR,2029-05-21,Pentecost Monday
FR,2029-07-14,National Day
FR,2029-08-15,Assumption Day
FR,2029-11-01,All Saints' Day
FR,2029-11-11,Armistice Day
FR,2029-12-25,Christmas Day
FR,2030-01-01,New Year's Day
FR,2030-04-22,Easter Monday
FR,2030-05-01,Labor Day
FR,2030-05-08,Victory Day
FR,2030-05-30,Ascension Day
FR,2030-06-10,Pentecost Monday
FR,2030-07-14,National Day
FR,2030-08-15,Assumption Day
FR,2030-11-01,All Saints' Day
FR,2030-11-11,Armistice Day
FR,2030-12-25,Christmas Day
FR,2031-01-01,New Year's Day
FR,2031-04-14,Easter Monday
FR,2031-05-01,Labor Day
FR,2031-05-08,Victory Day
FR,2031-05-22,Ascension Day
FR,2031-06-02,Pentecost Monday
FR,2031-07-14,National Day
FR,2031-08-15,Assumption Day
FR,2031-11-01,All Saints' Day
FR,2031-11-11,Armistice Day
FR,2031-12-25,Christmas Day
FR,2032-01-01,New Year's Day
FR,2032-03-29,Easter Monday
FR,2032-05-01,Labor Day
FR,2032-05-06,Ascension Day
FR,2032-05-08,Victory Day
FR,2032-05-17,Pentecost Monday
FR,2032-07-14,National Day
FR,2032-08-15,Assumption Day
FR,2032-11-01,All Saints' Day
FR,2032-11-11,Armistice Day
FR,2032-12-25,Christmas Day
FR,2033-01-01,New Year's Day
FR,2033-04-18,Easter Monday
FR,2033-05-01,Labor Day
FR,2033-05-08,Victory Day
FR,2033-05-26,Ascension Day
FR,2033-06-06,Pentecost Monday
FR,2033-07-14,National Day
FR,2033-08-15,Assumption Day
FR,2033-11-01,All Saints' Day
FR,2033-11-11,Armistice Day
FR,2033-12-25,Christmas Day
FR,2034-01-01,New Year's Day
FR,2034-04-10,Easter Monday
FR,2034-05-01,Labor Day
FR,2034-05-08,Victory Day
FR,2034-05-18,Ascension Day
FR,2034-05-29,Pentecost Monday
FR,2034-07-14,National Day
FR,2034-08-15,Assumption Day
FR,2034-11-01,All Saints' Day
FR,2034-11-11,Armistice Day
FR,2034-12-25,Christmas Day
FR,2035-01-01,New Year's Day
FR,2035-03-26,Easter Monday
FR,2035-05-01,Labor Day
FR,2035-05-03,Ascension Day
FR,2035-05-08,Victory Day
FR,2035-05-14,Pentecost Monday
FR,2035-07-14,National Day
FR,2035-08-15,Assumption Day
FR,2035-11-01,All Saints' Day
FR,2035-11-11,Armistice Day
FR,2035-12-25,Christmas Day
GB,2020-01-01,New Year's Day
GB,2020-04-10,Good Friday
GB,2020-05-08,May Day
GB,2020-05-25,Spring Bank Holiday
GB,2020-12-25,Christmas Day
GB,2020-12-26,Boxing Day
GB,2020-12-28,Boxing Day (observed)
GB,2021-01-01,New Year's Day
GB,2021-04-02,Good Friday
GB,2021-05-03,May Day
GB,2021-05-31,Spring Bank Holiday
GB,2021-12-25,Christmas Day
GB,2021-12-26,Boxing Day
GB,2021-12-27,Christmas Day (observed)
GB,2021-12-28,Boxing Day (observed)
GB,2022-01-01,New Year's Day
GB,2022-01-03,New Year's Day (observed)
GB,2022-04-15,Good Friday
GB,2022-05-02,May Day
GB,2022-06-02,Spring Bank Holiday
GB,2022-06-03,Platinum Jubilee of Elizabeth II
GB,2022-09-19,State Funeral of Queen Elizabeth II
GB,2022-12-25,Christmas Day
GB,2022-12-26,Boxing Day
GB,2022-12-27,Christmas Day (observed)
GB,2023-01-01,New Year's Day
GB,2023-01-02,New Year's Day (observed)
GB,2023-04-07,Good Friday
GB,2023-05-01,May Day
GB,2023-05-08,Coronation of Charles III
GB,2023-05-29,Spring Bank Holiday
GB,2023-12-25,Christmas Day
GB,2023-12-26,Boxing Day
GB,2024-01-01,New Year's Day
GB,2024-03-29,Good Friday
GB,2024-05-06,May Day
GB,2024-05-27,Spring Bank Holiday
GB,2024-12-25,Christmas Day
GB,2024-12-26,Boxing Day
GB,2025-01-01,New Year's Day
GB,2025-04-18,Good Friday
GB,2025-05-05,May Day
GB,2025-05-26,Spring Bank Holiday
GB,2025-12-25,Christmas Day
GB,2025-12-26,Boxing Day
GB,2026-01-01,New Year's Day
GB,2026-04-03,Good Friday
GB,2026-05-04,May Day
GB,2026-05-25,Spring Bank Holiday
GB,2026-12-25,Christmas Day
GB,2026-12-26,Boxing Day
GB,2026-12-28,Boxing Day (observed)
GB,2027-01-01,New Year's Day
GB,2027-03-26,Good Friday
GB,2027-05-03,May Day
GB,2027-05-31,Spring Bank Holiday
GB,2027-12-25,Christmas Day
GB,2027-12-26,Boxing Day
GB,2027-12-27,Christmas Day (observed)
GB,2027-12-28,Boxing Day (observed)
GB,2028-01-01,New Year's Day
GB,2028-01-03,New Year's Day (observed)
GB,2028-04-14,Good Friday
GB,2028-05-01,May Day
GB,2028-05-29,Spring Bank Holiday
GB,2028-12-25,Christmas Day
GB,2028-12-26,Boxing Day
GB,2029-01-01,New Year's Day
GB,2029-03-30,Good Friday
GB,2029-05-07,May Day
GB,2029-05-28,Spring Bank Holiday
GB,2029-12-25,Christmas Day
GB,2029-12-26,Boxing Day
GB,2030-01-01,New Year's Day
GB,2030-04-19,Good Friday
GB,2030-05-06,May Day
GB,2030-05-27,Spring Bank Holiday
GB,2030-12-25,Christmas Day
GB,2030-12-26,Boxing Day
GB,2031-01-01,New Year's Day
GB,2031-04-11,Good Friday
GB,2031-05-05,May Day
GB,2031-05-26,Spring Bank Holiday
GB,2031-12-25,Christmas Day
GB,2031-12-26,Boxing Day
GB,2032-01-01,New Year's Day
GB,2032-03-26,Good Friday
GB,2032-05-03,May Day
GB,2032-05-31,Spring Bank Holiday
GB,2032-12-25,Christmas Day
GB,2032-12-26,Boxing Day
GB,2032-12-27,Christmas Day (observed)
GB,2032-12-28,Boxing Day (observed)
GB,2033-01-01,New Year's Day
GB,2033-01-03,New Year's Day (observed)
GB,2033-04-15,Good Friday
GB,2033-05-02,May Day
GB,2033-05-30,Spring Bank Holiday
GB,2033-12-25,Christmas Day
GB,2033-12-26,Boxing Day
GB,2033-12-27,Christmas Day (observed)
GB,2034-01-01,New Year's Day
GB,2034-01-02,New Year's Day (observed)
GB,2034-04-07,Good Friday
GB,2034-05-01,May Day
GB,2034-05-29,Spring Bank Holiday
GB,2034-12-25,Christmas Day
GB,2034-12-26,Boxing Day
GB,2035-01-01,New Year's Day
GB,2035-03-23,Good Friday
GB,2035-05-07,May Day
GB,2035-05-28,Spring Bank Holiday
GB,2035-12-25,Christmas Day
GB,2035-12-26,Boxing Day
PT,2020-01-01,New Year's Day
PT,2020-04-10,Good Friday
PT,2020-04-12,Easter Sunday
PT,2020-04-25,Freedom Day
PT,2020-05-01,Labor Day
PT,2020-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2020-06-11,Corpus Christi
PT,2020-08-15,Assumption Day
PT,2020-10-05,Republic Day
PT,2020-11-01,All Saints' Day
PT,2020-12-01,Restoration of Independence Day
PT,2020-12-08,Immaculate Conception
PT,2020-12-25,Christmas Day
PT,2021-01-01,New Year's Day
PT,2021-04-02,Good Friday
PT,2021-04-04,Easter Sunday
PT,2021-04-25,Freedom Day
PT,2021-05-01,Labor Day
PT,2021-06-03,Corpus Christi
PT,2021-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2021-08-15,Assumption Day
PT,2021-10-05,Republic Day
PT,2021-11-01,All Saints' Day
PT,2021-12-01,Restoration of Independence Day
PT,2021-12-08,Immaculate Conception
PT,2021-12-25,Christmas Day
PT,2022-01-01,New Year's Day
PT,2022-04-15,Good Friday
PT,2022-04-17,Easter Sunday
PT,2022-04-25,Freedom Day
PT,2022-05-01,Labor Day
PT,2022-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2022-06-16,Corpus Christi
PT,2022-08-15,Assumption Day
PT,2022-10-05,Republic Day
PT,2022-11-01,All Saints' Day
PT,2022-12-01,Restoration of Independence Day
PT,2022-12-08,Immaculate Conception
PT,2022-12-25,Christmas Day
PT,2023-01-01,New Year's Day
PT,2023-04-07,Good Friday
PT,2023-04-09,Easter Sunday
PT,2023-04-25,Freedom Day
PT,2023-05-01,Labor Day
PT,2023-06-08,Corpus Christi
PT,2023-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2023-08-15,Assumption Day
PT,2023-10-05,Republic Day
PT,2023-11-01,All Saints' Day
PT,2023-12-01,Restoration of Independence Day
PT,2023-12-08,Immaculate Conception
PT,2023-12-25,Christmas Day
PT,2024-01-01,New Year's Day
PT,2024-03-29,Good Friday
PT,2024-03-31,Easter Sunday
PT,2024-04-25,Freedom Day
PT,2024-05-01,Labor Day
PT,2024-05-30,Corpus Christi
PT,2024-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2024-08-15,Assumption Day
PT,2024-10-05,Republic Day
PT,2024-11-01,All Saints' Day
PT,2024-12-01,Restoration of Independence Day
PT,2024-12-08,Immaculate Conception
PT,2024-12-25,Christmas Day
PT,2025-01-01,New Year's Day
PT,2025-04-18,Good Friday
PT,2025-04-20,Easter Sunday
PT,2025-04-25,Freedom Day
PT,2025-05-01,Labor Day
PT,2025-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2025-06-19,Corpus Christi
PT,2025-08-15,Assumption Day
PT,2025-10-05,Republic Day
PT,2025-11-01,All Saints' Day
PT,2025-12-01,Restoration of Independence Day
PT,2025-12-08,Immaculate Conception
PT,2025-12-25,Christmas Day
PT,2026-01-01,New Year's Day
PT,2026-04-03,Good Friday
PT,2026-04-05,Easter Sunday
PT,2026-04-25,Freedom Day
PT,2026-05-01,Labor Day
PT,2026-06-04,Corpus Christi
PT,2026-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2026-08-15,Assumption Day
PT,2026-10-05,Republic Day
PT,2026-11-01,All Saints' Day
PT,2026-12-01,Restoration of Independence Day
PT,2026-12-08,Immaculate Conception
PT,2026-12-25,Christmas Day
PT,2027-01-01,New Year's Day
PT,2027-03-26,Good Friday
PT,2027-03-28,Easter Sunday
PT,2027-04-25,Freedom Day
PT,2027-05-01,Labor Day
PT,2027-05-27,Corpus Christi
PT,2027-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2027-08-15,Assumption Day
PT,2027-10-05,Republic Day
PT,2027-11-01,All Saints' Day
PT,2027-12-01,Restoration of Independence Day
PT,2027-12-08,Immaculate Conception
PT,2027-12-25,Christmas Day
PT,2028-01-01,New Year's Day
PT,2028-04-14,Good Friday
PT,2028-04-16,Easter Sunday
PT,2028-04-25,Freedom Day
PT,2028-05-01,Labor Day
PT,2028-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2028-06-15,Corpus Christi
PT,2028-08-15,Assumption Day
PT,2028-10-05,Republic Day
PT,2028-11-01,All Saints' Day
PT,2028-12-01,Restoration of Independence Day
PT,2028-12-08,Immaculate Conception
PT,2028-12-25,Christmas Day
PT,2029-01-01,New Year's Day
PT,2029-03-30,Good Friday
PT,2029-04-01,Easter Sunday
PT,2029-04-25,Freedom Day
PT,2029-05-01,Labor Day
PT,2029-05-31,Corpus Christi
PT,2029-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2029-08-15,Assumption Day
PT,2029-10-05,Republic Day
PT,2029-11-01,All Saints' Day
PT,2029-12-01,Restoration of Independence Day
PT,2029-12-08,Immaculate Conception
PT,2029-12-25,Christmas Day
PT,2030-01-01,New Year's Day
PT,2030-04-19,Good Friday
PT,2030-04-21,Easter Sunday
PT,2030-04-25,Freedom Day
PT,2030-05-01,Labor Day
PT,2030-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2030-06-20,Corpus Christi
PT,2030-08-15,Assumption Day
PT,2030-10-05,Republic Day
PT,2030-11-01,All Saints' Day
PT,2030-12-01,Restoration of Independence Day
PT,2030-12-08,Immaculate Conception
PT,2030-12-25,Christmas Day
PT,2031-01-01,New Year's Day
PT,2031-04-11,Good Friday
PT,2031-04-13,Easter Sunday
PT,2031-04-25,Freedom Day
PT,2031-05-01,Labor Day
PT,2031-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2031-06-12,Corpus Christi
PT,2031-08-15,Assumption Day
PT,2031-10-05,Republic Day
PT,2031-11-01,All Saints' Day
PT,2031-12-01,Restoration of Independence Day
PT,2031-12-08,Immaculate Conception
PT,2031-12-25,Christmas Day
PT,2032-01-01,New Year's Day
PT,2032-03-26,Good Friday
PT,2032-03-28,Easter Sunday
PT,2032-04-25,Freedom Day
PT,2032-05-01,Labor Day
PT,2032-05-27,Corpus Christi
PT,2032-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2032-08-15,Assumption Day
PT,2032-10-05,Republic Day
PT,2032-11-01,All Saints' Day
PT,2032-12-01,Restoration of Independence Day
PT,2032-12-08,Immaculate Conception
PT,2032-12-25,Christmas Day
PT,2033-01-01,New Year's Day
PT,2033-04-15,Good Friday
PT,2033-04-17,Easter Sunday
PT,2033-04-25,Freedom Day
PT,2033-05-01,Labor Day
PT,2033-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2033-06-16,Corpus Christi
PT,2033-08-15,Assumption Day
PT,2033-10-05,Republic Day
PT,2033-11-01,All Saints' Day
PT,2033-12-01,Restoration of Independence Day
PT,2033-12-08,Immaculate Conception
PT,2033-12-25,Christmas Day
PT,2034-01-01,New Year's Day
PT,2034-04-07,Good Friday
PT,2034-04-09,Easter Sunday
PT,2034-04-25,Freedom Day
PT,2034-05-01,Labor Day
PT,2034-06-08,Corpus Christi
PT,2034-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2034-08-15,Assumption Day
PT,2034-10-05,Republic Day
PT,2034-11-01,All Saints' Day
PT,2034-12-01,Restoration of Independence Day
PT,2034-12-08,Immaculate Conception
PT,2034-12-25,Christmas Day
PT,2035-01-01,New Year's Day
PT,2035-03-23,Good Friday
PT,2035-03-25,Easter Sunday
PT,2035-04-25,Freedom Day
PT,2035-05-01,Labor Day
PT,2035-05-24,Corpus Christi
PT,2035-06-10,Day of Portugal, Camões, and the Portuguese Communities
PT,2035-08-15,Assumption Day
PT,2035-10-05,Republic Day
PT,2035-11-01,All Saints' Day
PT,2035-12-01,Restoration of Independence Day
PT,2035-12-08,Immaculate Conception
PT,2035-12-25,Christmas Day
US,2020-01-01,New Year's Day
US,2020-01-20,Martin Luther King Jr. Day
US,2020-02-17,Washington's Birthday
US,2020-05-25,Memorial Day
US,2020-07-03,Independence Day (observed)
US,2020-07-04,Independence Day
US,2020-09-07,Labor Day
US,2020-10-12,Columbus Day
US,2020-11-11,Veterans Day
US,2020-11-26,Thanksgiving Day
US,2020-12-25,Christmas Day
US,2021-01-01,New Year's Day
US,2021-01-18,Martin Luther King Jr. Day
US,2021-02-15,Washington's Birthday
US,2021-05-31,Memorial Day
US,2021-06-18,Juneteenth National Independence Day (observed)
US,2021-06-19,Juneteenth National Independence Day
US,2021-07-04,Independence Day
US,2021-07-05,Independence Day (observed)
US,2021-09-06,Labor Day
US,2021-10-11,Columbus Day
US,2021-11-11,Veterans Day
US,2021-11-25,Thanksgiving Day
US,2021-12-24,Christmas Day (observed)
US,2021-12-25,Christmas Day
US,2021-12-31,New Year's Day (observed)
US,2022-01-01,New Year's Day
US,2022-01-17,Martin Luther King Jr. Day
US,2022-02-21,Washington's Birthday
US,2022-05-30,Memorial Day
US,2022-06-19,Juneteenth National Independence Day
US,2022-06-20,Juneteenth National Independence Day (observed)
US,2022-07-04,Independence Day
US,2022-09-05,Labor Day
US,2022-10-10,Columbus Day
US,2022-11-11,Veterans Day
US,2022-11-24,Thanksgiving Day
US,2022-12-25,Christmas Day
US,2022-12-26,Christmas Day (observed)
US,2023-01-01,New Year's Day
US,2023-01-02,New Year's Day (observed)
US,2023-01-16,Martin Luther King Jr. Day
US,2023-02-20,Washington's Birthday
US,2023-05-29,Memorial Day
US,2023-06-19,Juneteenth National Independence Day
US,2023-07-04,Independence Day
US,2023-09-04,Labor Day
US,2023-10-09,Columbus Day
US,2023-11-10,Veterans Day (observed)
US,2023-11-11,Veterans Day
US,2023-11-23,Thanksgiving Day
US,2023-12-25,Christmas Day
US,2024-01-01,New Year's Day
US,2024-01-15,Martin Luther King Jr. Day
US,2024-02-19,Washington's Birthday
US,2024-05-27,Memorial Day
US,2024-06-19,Juneteenth National Independence Day
US,2024-07-04,Independence Day
US,2024-09-02,Labor Day
US,2024-10-14,Columbus Day
US,2024-11-11,Veterans Day
US,2024-11-28,Thanksgiving Day
US,2024-12-25,Christmas Day
US,2025-01-01,New Year's Day
US,2025-01-20,Martin Luther King Jr. Day
US,2025-02-17,Washington's Birthday
US,2025-05-26,Memorial Day
US,2025-06-19,Juneteenth National Independence Day
US,2025-07-04,Independence Day
US,2025-09-01,Labor Day
US,2025-10-13,Columbus Day
US,2025-11-11,Veterans Day
US,2025-11-27,Thanksgiving Day
US,2025-12-25,Christmas Day
US,2026-01-01,New Year's Day
US,2026-01-19,Martin Luther King Jr. Day
US,2026-02-16,Washington's Birthday
US,2026-05-25,Memorial Day
US,2026-06-19,Juneteenth National Independence Day
US,2026-07-03,Independence Day (observed)
US,2026-07-04,Independence Day
US,2026-09-07,Labor Day
US,2026-10-12,Columbus Day
US,2026-11-11,Veterans Day
US,2026-11-26,Thanksgiving Day
US,2026-12-25,Christmas Day
US,2027-01-01,New Year's Day
US,2027-01-18,Martin Luther King Jr. Day
US,2027-02-15,Washington's Birthday
US,2027-05-31,Memorial Day
US,2027-06-18,Juneteenth National Independence Day (observed)
US,2027-06-19,Juneteenth National Independence Day
US,2027-07-04,Independence Day
US,2027-07-05,Independence Day (observed)
US,2027-09-06,Labor Day
US,2027-10-11,Columbus Day
US,2027-11-11,Veterans Day
US,2027-11-25,Thanksgiving Day
US,2027-12-24,Christmas Day (observed)
US,2027-12-25,Christmas Day
US,2027-12-31,New Year's Day (observed)
US,2028-01-01,New Year's Day
US,2028-01-17,Martin Luther King Jr. Day
US,2028-02-21,Washington's Birthday
US,2028-05-29,Memorial Day
US,2028-06-19,Juneteenth National Independence Day
US,2028-07-04,Independence Day
US,2028-09-04,Labor Day
US,2028-10-09,Columbus Day
US,2028-11-10,Veterans Day (observed)
US,2028-11-11,Veterans Day
US,2028-11-23,Thanksgiving Day
US,2028-12-25,Christmas Day
US,2029-01-01,New Year's Day
US,2029-01-15,Martin Luther King Jr. Day
US,2029-02-19,Washington's Birthday
US,2029-05-28,Memorial Day
US,2029-06-19,Juneteenth National Independence Day
US,2029-07-04,Independence Day
US,2029-09-03,Labor Day
US,2029-10-08,Columbus Day
US,2029-11-11,Veterans Day
US,2029-11-12,Veterans Day (observed)
US,2029-11-22,Thanksgiving Day
US,2029-12-25,Christmas Day
US,2030-01-01,New Year's Day
US,2030-01-21,Martin Luther King Jr. Day
US,2030-02-18,Washington's Birthday
US,2030-05-27,Memorial Day
US,2030-06-19,Juneteenth National Independence Day
US,2030-07-04,Independence Day
US,2030-09-02,Labor Day
US,2030-10-14,Columbus Day
US,2030-11-11,Veterans Day
US,2030-11-28,Thanksgiving Day
US,2030-12-25,Christmas Day
US,2031-01-01,New Year's Day
US,2031-01-20,Martin Luther King Jr. Day
US,2031-02-17,Washington's Birthday
US,2031-05-26,Memorial Day
US,2031-06-19,Juneteenth National Independence Day
US,2031-07-04,Independence Day
US,2031-09-01,Labor Day
US,2031-10-13,Columbus Day
US,2031-11-11,Veterans Day
US,2031-11-27,Thanksgiving Day
US,2031-12-25,Christmas Day
US,2032-01-01,New Year's Day
US,2032-01-19,Martin Luther King Jr. Day
US,2032-02-16,Washington's Birthday
US,2032-05-31,Memorial Day
US,2032-06-18,Juneteenth National Independence Day (observed)
US,2032-06-19,Juneteenth National Independence Day
US,2032-07-04,Independence Day
US,2032-07-05,Independence Day (observed)
US,2032-09-06,Labor Day
US,2032-10-11,Columbus Day
US,2032-11-11,Veterans Day
US,2032-11-25,Thanksgiving Day
US,2032-12-24,Christmas Day (observed)
US,2032-12-25,Christmas Day
US,2032-12-31,New Year's Day (observed)
US,2033-01-01,New Year's Day
US,2033-01-17,Martin Luther King Jr. Day
US,2033-02-21,Washington's Birthday
US,2033-05-30,Memorial Day
US,2033-06-19,Juneteenth National Independence Day
US,2033-06-20,Juneteenth National Independence Day (observed)
US,2033-07-04,Independence Day
US,2033-09-05,Labor Day
US,2033-10-10,Columbus Day
US,2033-11-11,Veterans Day
US,2033-11-24,Thanksgiving Day
US,2033-12-25,Christmas Day
US,2033-12-26,Christmas Day (observed)
US,2034-01-01,New Year's Day
US,2034-01-02,New Year's Day (observed)
US,2034-01-16,Martin Luther King Jr. Day
US,2034-02-20,Washington's Birthday
US,2034-05-29,Memorial Day
US,2034-06-19,Juneteenth National Independence Day
US,2034-07-04,Independence Day
US,2034-09-04,Labor Day
US,2034-10-09,Columbus Day
US,2034-11-10,Veterans Day (observed)
US,2034-11-11,Veterans Day
US,2034-11-23,Thanksgiving Day
US,2034-12-25,Christmas Day
US,2035-01-01,New Year's Day
US,2035-01-15,Martin Luther King Jr. Day
US,2035-02-19,Washington's Birthday
US,2035-05-28,Memorial Day
US,2035-06-19,Juneteenth National Independence Day
US,2035-07-04,Independence Day
US,2035-09-03,Labor Day
US,2035-10-08,Columbus Day
US,2035-11-11,Veterans Day
US,2035-11-12,Veterans Day (observed)
US,2035-11-22,Thanksgiving Day
US,2035-12-25,Christmas Day
{%- endmacro %}

{% macro where_public_holidays_are_known() %}
    {% do return({'countries': ['CN', 'DE', 'ES', 'FR', 'GB', 'PT', 'US'], 'first_year': 2020, 'last_year': 2035}) %}
{% endmacro %}
