"""The yardstick: a plain DuckDB script from the same files to the same marts.

What somebody writes who needs the marts once: casts, deduplication and mart SQL, full build, one
database file. No gate, no quarantine, no ledger, no history, no lineage, no tests. In two forms:

    lean      values are cast while the files are read, straight into staging tables
    layered   the reads and writes of the platform: files -> Parquet in a lake -> RAW tables ->
              staging -> marts -> a published Parquet copy of the marts

Imports nothing of the platform, whose start-up would count.
"""

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import duckdb

COUNTRY_OF_TOKEN = {"UK": "GB"}

TRANSACTIONS = {
    "invoice_id": "varchar", "line": "integer", "customer_id": "bigint", "product_id": "bigint",
    "size": "varchar", "color": "varchar", "unit_price": "decimal(12,2)", "quantity": "integer",
    "sold_at": "timestamp", "discount": "decimal(5,4)", "line_total": "decimal(12,2)",
    "store_id": "bigint", "employee_id": "bigint", "currency": "varchar",
    "currency_symbol": "varchar", "sku": "varchar", "transaction_type": "varchar",
    "payment_method": "varchar", "invoice_total": "decimal(12,2)",
}  # fmt: skip
STORES = {
    "store_id": "bigint", "country_name": "varchar", "city": "varchar", "store_name": "varchar",
    "number_of_employees": "integer", "zip_code": "varchar", "latitude": "double",
    "longitude": "double",
}  # fmt: skip
EMPLOYEES = {
    "employee_id": "bigint", "store_id": "bigint", "name": "varchar", "position": "varchar",
}  # fmt: skip
CUSTOMERS = {
    "customer_id": "bigint", "name": "varchar", "email": "varchar", "telephone": "varchar",
    "city": "varchar", "country_name": "varchar", "gender": "varchar", "date_of_birth": "date",
    "job_title": "varchar",
}  # fmt: skip
PRODUCTS = {
    "product_id": "bigint", "category": "varchar", "sub_category": "varchar",
    "description_pt": "varchar", "description_de": "varchar", "description_fr": "varchar",
    "description_es": "varchar", "description_en": "varchar", "description_zh": "varchar",
    "color": "varchar", "sizes": "varchar", "production_cost": "decimal(12,2)",
}  # fmt: skip
DISCOUNTS = {
    "starts_on": "date", "ends_on": "date", "discount": "decimal(5,4)", "description": "varchar",
    "category": "varchar", "sub_category": "varchar",
}  # fmt: skip
FX_RATES = {"rate_date": "date", "currency": "varchar", "rate": "decimal(18,8)"}
PARTNER_STORES = {"store_group": "varchar", "store_token": "varchar", "store_name": "varchar"}
PARTNER_SALES = {
    "store_token": "varchar", "transaction_id": "varchar", "receipt_token": "varchar",
    "transaction_time": "varchar", "amount": "varchar", "source_id": "varchar",
    "user_role": "varchar",
}  # fmt: skip

COLUMNS = {
    "transactions": TRANSACTIONS, "stores": STORES, "employees": EMPLOYEES,
    "customers": CUSTOMERS, "products": PRODUCTS, "discounts": DISCOUNTS, "fx_rates": FX_RATES,
    "partner_stores": PARTNER_STORES, "partner_sales": PARTNER_SALES,
}  # fmt: skip


def files_by_feed(folder: Path) -> dict[str, list[tuple[str, str, str, datetime]]]:
    """Feed -> (path, country, batch day, delivered at) of its files, by day and country."""
    found = defaultdict(list)
    for entry in os.scandir(folder):
        head, day = entry.name.removesuffix(".csv").rsplit("_", 1)
        feed, _, token = head.rpartition("_")
        if head in COLUMNS:
            feed, token = head, "ALL"
        delivered = datetime.fromtimestamp(entry.stat().st_mtime, UTC).replace(tzinfo=None)
        day = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        found[feed].append((entry.path, COUNTRY_OF_TOKEN.get(token, token), day, delivered))
    return {feed: sorted(files, key=lambda f: (f[2], f[1])) for feed, files in found.items()}


def shapes(
    paths: Iterable[str], columns: list[str]
) -> dict[tuple[tuple[str, ...], bool], list[str]]:
    """Files grouped by (columns, has a header): partners leave out the header and a column."""
    groups = defaultdict(list)
    for path in paths:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - thousands of files
            first = file.readline().rstrip("\n").split(",")
        header = first[0] in columns
        names = first if header else columns
        if not header and len(first) < len(columns):
            names = [c for c in columns if c != "source_id"]
        groups[tuple(names), header].append(path)
    return groups


def csv_reader(paths: Iterable[str], columns: dict[str, str], *, header: bool = True) -> str:
    """A `read_csv` call with the columns of a feed."""
    listed = ", ".join(f"'{p}'" for p in paths)
    typed = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
    return (
        f"read_csv([{listed}], header = {str(header).lower()}, delim = ',', quote = '\"', "
        f"escape = '\"', auto_detect = false, columns = {{{typed}}}, filename = true)"
    )


def newest(table: str, key: str, newest_first: str) -> str:
    """Delete all but the newest version of each key; keys delivered once are never sorted."""
    return (
        f"delete from {table} where rowid in (select rowid from (select rowid, row_number() over "
        f"(partition by {key} order by {newest_first}) as version from {table} semi join "
        f"(select {key} from {table} group by all having count(*) > 1) using ({key})) "
        "where version > 1)"
    )


def text(column: str, alias: str | None = None) -> str:
    """Blank means missing."""
    return f"nullif(trim({column}), '') as {alias or column}"


def code(column: str, alias: str | None = None) -> str:
    """Codes compare without regard to case."""
    return f"nullif(upper(trim({column})), '') as {alias or column}"


COUNTRY_OF_STORE = """case when country <> 'ALL' then country else case country_name
            when '中国' then 'CN' when 'Deutschland' then 'DE' when 'España' then 'ES'
            when 'France' then 'FR' when 'United Kingdom' then 'GB' when 'Portugal' then 'PT'
            when 'United States' then 'US' else error('no such country: ' || country_name)
            end end"""
"""The first list of stores is one file for all countries."""

STAGING = {
    "transactions": (
        f"""country, batch_date, cast(sold_at as date) as business_date, {text("invoice_id")}, line,
        try_cast(split_part(trim(invoice_id), '-', 4) as bigint) as invoice_counter,
        case when trim(transaction_type) = 'Return' then 'INV' || substr(trim(invoice_id), 4) end
            as sale_invoice_id,
        customer_id, product_id, store_id, employee_id, {text("transaction_type")}, {text("size")},
        {text("color")}, {text("sku")}, {text("payment_method")},
        {code("currency", "currency_code")},
        coalesce(trim(transaction_type) = 'Return', false) as is_return, quantity,
        cast(unit_price as decimal(18, 2)) as unit_price_local, discount as discount_rate,
        cast(line_total as decimal(18, 2)) as line_total_local,
        cast(invoice_total as decimal(18, 2)) as invoice_total_local, sold_at""",
        "country, batch_date, invoice_id, line",
    ),
    "stores": (
        f"""{COUNTRY_OF_STORE}
            as country,
        batch_date, store_id, {text("store_name")}, {text("city")}, {text("country_name")},
        {text("zip_code")}, number_of_employees, latitude, longitude""",
        "country, batch_date, store_id",
    ),
    "employees": (
        f"country, batch_date, employee_id, store_id, {text('name')}, {text('position')}",
        "country, batch_date, employee_id",
    ),
    "customers": (
        f"""country, batch_date, customer_id, {text("name")}, {text("email")}, {text("telephone")},
        {text("city")}, {text("country_name")}, {code("gender")}, {text("job_title")},
        date_of_birth""",
        "country, batch_date, customer_id",
    ),
    "products": (
        f"""country, batch_date, product_id, {text("category")}, {text("sub_category")},
        {text("description_pt")}, {text("description_de")}, {text("description_fr")},
        {text("description_es")}, {text("description_en")}, {text("description_zh")},
        {code("color")}, {text("sizes")},
        cast(production_cost as decimal(18, 2)) as production_cost_usd""",
        "country, batch_date, product_id",
    ),
    "discounts": (
        f"""country, batch_date, md5(concat_ws('|', starts_on, ends_on,
            coalesce(trim(category), ''), coalesce(trim(sub_category), ''))) as promotion_id,
        {text("category")}, {text("sub_category")}, {text("description")},
        discount as discount_rate, starts_on, ends_on""",
        "country, batch_date, promotion_id",
    ),
    "fx_rates": (
        f"""country, batch_date, rate_date, {code("currency", "currency_code")},
        rate as units_per_eur""",
        "country, batch_date, rate_date, currency_code",
    ),
    "partner_stores": (
        f"""country, batch_date, {text("store_token")}, {text("store_group")},
        {text("store_name")}""",
        "country, batch_date, store_token",
    ),
    "partner_sales": (
        f"""country, batch_date, cast(moment as date) as business_date, {text("store_token")},
        {text("transaction_id")}, {text("receipt_token")}, {text("source_id")},
        {text("user_role")},
        cast(trim(amount, '$') as decimal(18, 2)) as amount_usd, moment as transaction_time""",
        "country, batch_date, store_token, transaction_id, receipt_token",
    ),
}
MOMENT = (
    "strptime(transaction_time, ['%Y-%m-%d %H:%M:%S', '%Y-%m-%dT%H:%M:%S', '%Y%m%dT%H%M%S.%g'])"
)

INTERMEDIATE = [
    """create table intermediate.int_sales as
    select country, business_date, 'store' as channel, invoice_id, line, sale_invoice_id,
        transaction_type, is_return, customer_id, product_id,
        cast(store_id as varchar) as store_key, employee_id, size, color, sku, payment_method,
        currency_code, quantity, unit_price_local, discount_rate,
        line_total_local as net_amount_local, sold_at, batch_date, delivered_at, source_file
    from staging.transactions
    union all
    select country, business_date, 'partner',
        store_token || '/' || transaction_id || '/' || receipt_token, 1, null,
        case when amount_usd < 0 then 'Return' else 'Sale' end, amount_usd < 0, null, null,
        store_token, null, null, null, null, null, 'USD', 1,
        cast(abs(amount_usd) as decimal(18, 2)), 0, amount_usd, transaction_time, batch_date,
        delivered_at, source_file
    from staging.partner_sales""",
    newest(
        "intermediate.int_sales",
        "country, business_date, channel, invoice_id, line",
        "batch_date desc, delivered_at desc, source_file desc, rowid desc",
    ),
    """create table intermediate.int_fx_rates as
    with newest_rates as (
        select * from staging.fx_rates where units_per_eur > 0
        qualify row_number() over (partition by rate_date, currency_code
            order by batch_date desc, delivered_at desc, source_file desc) = 1
    ), carried as (
        select newest_rates.*, rate_date + cast(days as integer) as business_date
        from newest_rates cross join range(7) as carry(days)
    )
    select business_date, currency_code, rate_date,
        cast(cast(1 as double) / cast(units_per_eur as double) as decimal(18, 10)) as eur_rate
    from carried
    qualify row_number() over (partition by business_date, currency_code
        order by rate_date desc) = 1""",
]


def versions(table: str, relation: str, key: str, attributes: str) -> str:
    """A dimension with history: one row per run of equal attributes."""
    return f"""create table marts.{table} as
    with changes as (
        select {key}, {attributes}, batch_date
        from {relation}
        qualify lag(row({attributes})) over (partition by {key} order by batch_date)
            is distinct from row({attributes})
    )
    select {key}, {attributes}, batch_date as valid_from, lead(batch_date) over by_key as valid_to,
        lead(batch_date) over by_key is null as is_current
    from changes window by_key as (partition by {key} order by batch_date)"""


EUR = "cast(round(cast({} as decimal(26, 2)) * eur_rate, 2) as decimal(18, 2))"
TOTAL = "coalesce(cast(sum({}) as decimal(18, 2)), 0)"
SALE, RETURN = "transaction_type = 'Sale'", "transaction_type = 'Return'"
RETAIL_YEAR_START = (
    "cast(make_date({0}, 1, 29) + cast(7 - isodow(make_date({0}, 1, 29)) as integer) as date)"
)

MARTS = [
    versions(
        "dim_customer",
        "(select *, year(date_of_birth) as birth_year from staging.customers)",
        "country, customer_id",
        "city, country_name, gender, birth_year, job_title",
    ),
    versions("dim_employee", "staging.employees", "country, employee_id", "store_id, position"),
    versions(
        "dim_product",
        "staging.products",
        "country, product_id",
        "category, sub_category, description_pt, description_de, description_fr, description_es, "
        "description_en, description_zh, color, sizes, production_cost_usd",
    ),
    versions(
        "dim_promotion",
        "staging.discounts",
        "country, promotion_id, starts_on, ends_on, category, sub_category",
        "discount_rate, description",
    ),
    versions(
        "dim_store",
        """(select country, batch_date, 'store' as channel, cast(store_id as varchar) as store_key,
            store_id, null as store_group, store_name, city, zip_code, latitude, longitude,
            number_of_employees from staging.stores
        union all
        select country, batch_date, 'partner', store_token, null, store_group, store_name, null,
            null, null, null, null from staging.partner_stores)""",
        "country, channel, store_key",
        "store_id, store_group, store_name, city, zip_code, latitude, longitude, "
        "number_of_employees",
    ),
    f"""create table marts.fct_sales as
    with priced as (
        select sales.*,
            case when sales.currency_code = 'EUR' then cast(1 as decimal(18, 10))
                else rates.eur_rate end as eur_rate,
            cast(unit_price_local * quantity * case when is_return then -1 else 1 end
                as decimal(18, 2)) as gross_amount_local
        from intermediate.int_sales as sales
        left join intermediate.int_fx_rates as rates
            on rates.business_date = sales.business_date
            and rates.currency_code = sales.currency_code
    )
    select country, business_date, sold_at, channel, invoice_id, line, sale_invoice_id,
        transaction_type, customer_id, product_id, store_key, employee_id, size, color, sku,
        payment_method, quantity, case when is_return then -quantity else quantity end
            as signed_quantity,
        unit_price_local, discount_rate, gross_amount_local,
        cast(gross_amount_local - net_amount_local as decimal(18, 2)) as discount_amount_local,
        net_amount_local, currency_code, eur_rate,
        {EUR.format("net_amount_local")} as net_amount_eur,
        {EUR.format("gross_amount_local")} as gross_amount_eur
    from priced
    anti join (select distinct country, business_date from priced where eur_rate is null)
        using (country, business_date)""",
    f"""create table marts.dim_date as
    with days as (
        select distinct country, business_date, year(business_date) as calendar_year
        from intermediate.int_sales
    ), retail_years as (
        select *, case when business_date >= {RETAIL_YEAR_START.format("calendar_year")}
            then calendar_year else calendar_year - 1 end as retail_year
        from days
    ), weeks as (
        select *, (business_date - {RETAIL_YEAR_START.format("retail_year")}) // 7 + 1
            as retail_week
        from retail_years
    ), quarters as (
        select *, case when retail_week > 52 then 4 else (retail_week - 1) // 13 + 1 end
            as retail_quarter
        from weeks
    )
    select country, business_date, calendar_year, quarter(business_date) as calendar_quarter,
        month(business_date) as calendar_month, day(business_date) as day_of_month,
        isoyear(business_date) as iso_year, week(business_date) as iso_week,
        isodow(business_date) as weekday, isodow(business_date) >= 6 as is_weekend, retail_year,
        retail_quarter, (retail_quarter - 1) * 3 + case
            when retail_week - (retail_quarter - 1) * 13 <= 4 then 1
            when retail_week - (retail_quarter - 1) * 13 <= 9 then 2 else 3 end as retail_month,
        retail_week
    from quarters""",
    f"""create table marts.rpt_daily_sales as
    with totals as (
        select country, business_date, channel, currency_code,
            count(distinct store_key) as active_stores,
            count(distinct invoice_id) filter ({SALE}) as transactions,
            count(distinct invoice_id) filter ({RETURN}) as return_transactions,
            coalesce(sum(quantity) filter ({SALE}), 0) as units_sold,
            coalesce(sum(quantity) filter ({RETURN}), 0) as units_returned,
            coalesce(sum(gross_amount_local) filter ({SALE}), 0) as gross_sales_local,
            coalesce(sum(discount_amount_local) filter ({SALE}), 0) as discounts_local,
            coalesce(sum(-net_amount_local) filter ({RETURN}), 0) as returns_local,
            {TOTAL.format("net_amount_local")} as net_sales_local,
            {TOTAL.format("net_amount_eur")} as net_sales_eur
        from marts.fct_sales group by all
    ), top_stores as (
        select country, business_date, channel, currency_code, store_key
        from (select country, business_date, channel, currency_code, store_key,
            {TOTAL.format("net_amount_eur")} as net_sales_eur from marts.fct_sales group by all)
        qualify row_number() over (partition by country, business_date, channel, currency_code
            order by net_sales_eur desc, store_key) = 1
    )
    select totals.*, cast(round(cast(cast(net_sales_eur as double) / active_stores
        as decimal(24, 6)), 2) as decimal(18, 2)) as avg_store_sales_eur,
        top_stores.store_key as top_store_key
    from totals join top_stores using (country, business_date, channel, currency_code)""",
    f"""create table marts.rpt_top_stores as
    with totals as (
        select country, business_date, channel, store_key,
            count(distinct invoice_id) filter ({SALE}) as transactions,
            coalesce(sum(quantity) filter ({SALE}), 0) as units_sold,
            {TOTAL.format("net_amount_eur")} as net_sales_eur
        from marts.fct_sales group by all
    )
    select country, business_date, row_number() over (partition by country, business_date
        order by net_sales_eur desc, channel, store_key) as store_rank,
        channel, store_key, transactions, units_sold, net_sales_eur
    from totals qualify store_rank <= 5""",
]


def through_the_layers(
    connection: duckdb.DuckDBPyConnection, feed: str, readers: str, lake: Path
) -> str:
    """Rows as Parquet in the lake and from there in a RAW table; a query over that table."""
    lake.mkdir(exist_ok=True)
    target = lake / f"{feed}.parquet"
    connection.execute(
        f"copy (select * from ({readers}) join files using (filename)) to '{target}' "
        "(format parquet, compression zstd, compression_level 1)"
    )
    connection.execute(f"create table raw.{feed} as select * from read_parquet('{target}')")
    return f"select * from raw.{feed}"


def build(folder: Path, database: Path, *, layered: bool = False) -> dict[str, float]:
    """Read the files and build the marts; seconds by part."""
    seconds = {}
    began = time.monotonic()
    with duckdb.connect(str(database)) as connection:
        for schema in ("raw", "staging", "intermediate", "marts"):
            connection.execute(f"create schema {schema}")
        by_feed = files_by_feed(folder)
        connection.execute(
            "create temp table files (filename varchar, country varchar, batch_date date, "
            "delivered_at timestamp)"
        )
        names, countries, days, delivered = zip(
            *(file for files in by_feed.values() for file in files), strict=True
        )
        connection.execute(
            "insert into files select unnest(?), unnest(?), cast(unnest(?) as date), unnest(?)",
            [list(names), list(countries), list(days), list(delivered)],
        )
        for feed, (columns, key) in STAGING.items():
            paths = [file[0] for file in by_feed[feed]]
            if feed.startswith("partner_"):
                readers = " union all by name ".join(
                    "select * from "
                    + csv_reader(same, dict.fromkeys(fields, "varchar"), header=head)
                    for (fields, head), same in shapes(paths, list(COLUMNS[feed])).items()
                )
            else:
                readers = f"select * from {csv_reader(paths, COLUMNS[feed])}"
            if feed == "partner_sales":
                readers = f"select *, {MOMENT} as moment from ({readers})"
            table = f"staging.{feed}"
            if layered:
                rows = through_the_layers(connection, feed, readers, database.with_name("lake"))
            else:
                rows = f"select * from ({readers}) join files using (filename)"
            connection.execute(
                f"create table {table} as select {columns}, delivered_at, "
                f"parse_filename(filename) as source_file from ({rows})"
            )
            connection.execute(
                newest(table, key, "delivered_at desc, source_file desc, rowid desc")
            )
        seconds["read, cast, deduplicate"] = time.monotonic() - began
        began = time.monotonic()
        for statement in (*INTERMEDIATE, *MARTS):
            connection.execute(statement)
        seconds["marts"] = time.monotonic() - began
        began = time.monotonic()
        if layered:
            publish(connection, database.with_name("published"))
            seconds["publish"] = time.monotonic() - began
            began = time.monotonic()
    seconds["close the file"] = time.monotonic() - began
    return seconds


def publish(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Every mart as one Parquet file."""
    folder.mkdir()
    for (mart,) in connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'marts'"
    ).fetchall():
        connection.execute(f"copy marts.{mart} to '{folder / mart}.parquet' (format parquet)")


def main() -> None:
    """Build once; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of delivered files")
    parser.add_argument("database", type=Path, help="DuckDB file to create")
    parser.add_argument("--layered", action="store_true", help="see the module's docstring")
    options = parser.parse_args()
    seconds = build(options.folder, options.database, layered=options.layered)
    target = os.environ.get("BENCHMARK_FACTS")
    if target:
        Path(target).write_text(json.dumps({"seconds": seconds}), encoding="utf-8")
    else:
        print(json.dumps(seconds, indent=1))


if __name__ == "__main__":
    main()
