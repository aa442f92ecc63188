"""What an alert is, and how facts become alerts: pure functions, no reading and no sending.

An alert never carries values of rows. Names of files, columns, assets and classes of errors,
counts and reasons are all it says; who needs more follows its link to where access is controlled.
"""

import hashlib
from collections.abc import Collection, Mapping
from datetime import date, datetime
from enum import StrEnum
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from retail_platform.lake.inbox import Rejection

PLATFORM_TEAM = "team:data-platform"


class Severity(StrEnum):
    """How much an alert matters; an `info` has no end that would be worth telling."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Kind(StrEnum):
    """What sort of trouble it is. Each kind is looked at as a whole: see `Observation`."""

    FAILED_RUN = "failed_run"
    FAILED_CHECK = "failed_check"
    REFUSED_FILE = "refused_file"
    DELIVERY = "delivery"
    LATE_ROWS = "late_rows"
    STALE_ASSET = "stale_asset"
    DAEMON = "daemon"
    SENSOR = "sensor"
    DEPENDENCY = "dependency"
    BUDGET = "budget"
    BLIND = "blind"


class Alert(BaseModel):
    """One trouble.

    Attributes:
        key: the same trouble has the same key as long as it lasts.
        occasion: what brought it about this time, e.g. a run or a version of a file.
        every_occasion: tell each new occasion, although the trouble was open already.
        what, why, todo: what happened, why it matters, what to do.
        link: page of the UI that shows it.
        bulk: part of a backfill; told in one message with others of its kind.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    kind: Kind
    severity: Severity
    what: str
    why: str
    todo: str
    link: str
    owners: tuple[str, ...] = (PLATFORM_TEAM,)
    domain: str = ""
    country: str = ""
    occasion: str = ""
    every_occasion: bool = False
    bulk: bool = False


class Subject(BaseModel):
    """Who answers for something: an asset or a feed."""

    model_config = ConfigDict(frozen=True)

    owners: tuple[str, ...] = (PLATFORM_TEAM,)
    domain: str = ""


class FailedRun(BaseModel):
    """A run that failed, and what of its work nobody has done since.

    Attributes:
        assets: selected assets without a later success, as ``layer/name``; empty for a job.
        countries, first, last: the rectangle it covered; empty and None without partitions.
        errors: classes of the errors, e.g. ``DbtFailed``.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    job: str
    assets: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    errors: tuple[str, ...] = ()
    bulk: bool = False

    @property
    def key(self) -> str:
        """The same request, tried again, is the same trouble."""
        parts = [self.job, *self.assets, *self.countries, str(self.first), str(self.last)]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        return f"{Kind.FAILED_RUN}:{digest}"

    def after_success(self, other: "FailedRun") -> "FailedRun | None":
        """What is left of this trouble after a later run succeeded; None when nothing is.

        A later run that overlaps the countries and days of this one has done its assets: requests
        are cut into other rectangles when they are repeated.
        """
        if not self._overlaps(other):
            return self
        if not self.assets:
            return None if other.job == self.job else self
        left = tuple(a for a in self.assets if a not in other.assets)
        return self.model_copy(update={"assets": left}) if left else None

    def _overlaps(self, other: "FailedRun") -> bool:
        if self.first is None or self.last is None:
            return other.first is None
        if other.first is None or other.last is None:
            return False
        return (
            self.first <= other.last
            and other.first <= self.last
            and bool(set(self.countries) & set(other.countries))
        )

    @property
    def where(self) -> str:
        """Countries and days for people."""
        if self.first is None:
            return ""
        days = str(self.first) if self.first == self.last else f"{self.first} to {self.last}"
        return f" for {_few(self.countries)}, {days}"


def failed_run(run: FailedRun, key: str, subjects: Mapping[str, Subject], ui_url: str) -> Alert:
    """A run that failed and was not made good since.

    Args:
        key: of the trouble when it began; `run` may have shrunk since.
        subjects: asset -> who answers for it.
    """
    of = [subjects.get(a, Subject()) for a in run.assets] or [Subject()]
    causes = f" ({_few(run.errors)})" if run.errors else ""
    return Alert(
        key=key,
        kind=Kind.FAILED_RUN,
        severity=Severity.ERROR,
        what=f"Run {run.run_id[:8]} failed{causes}: {_few(run.assets) or run.job}{run.where}.",
        why="What it was to build stays as it was; automation alone does not repeat it before new "
        "input comes.",
        todo="Open the run for the error, remove its cause, then `retail run` or re-execute it.",
        link=f"{ui_url}/runs/{run.run_id}",
        owners=_owners(of),
        domain=of[0].domain,
        country=run.countries[0] if len(run.countries) == 1 else "",
        occasion=run.run_id,
        bulk=run.bulk,
    )


def failed_check(
    asset: str, check: str, run_id: str, error: bool, facts: str, subject: Subject, ui_url: str
) -> Alert:
    """A check whose newest result is a failure.

    Args:
        error: severity ERROR; WARN becomes an info.
        facts: counts it found.
    """
    return Alert(
        key=f"{Kind.FAILED_CHECK}:{asset}:{check}",
        kind=Kind.FAILED_CHECK,
        severity=Severity.ERROR if error else Severity.INFO,
        what=f"Check {check} on {asset} failed{facts}.",
        why="Whoever reads this table may read something wrong.",
        todo="The check's page lists the failing slices and the query that finds the rows.",
        link=_asset_page(asset, ui_url, "?view=checks"),
        owners=subject.owners,
        domain=subject.domain,
        occasion=run_id,
    )


def refused_file(record: Rejection, subject: Subject, ui_url: str) -> Alert:
    """A file that lies in the inbox and cannot be taken in; told once for each of its versions."""
    page = f"feeds/{record.feed}" if record.feed else ""
    return Alert(
        key=f"{Kind.REFUSED_FILE}:{record.name}",
        kind=Kind.REFUSED_FILE,
        severity=Severity.ERROR,
        what=f"File {record.name} was refused: {record.code}.",
        why="Its rows are missing from every table until it is accepted; other files go on.",
        todo=f"{record.remedy} `retail status` says what was seen.",
        link=_asset_page(page, ui_url, "?view=checks") if page else f"{ui_url}/assets",
        owners=subject.owners,
        domain=subject.domain,
        country=record.country or "",
        occasion=f"{record.version} {record.schema_version or ''}",
        every_occasion=True,
    )


def delivery(
    feed: str, partition: str, due: str, delivered: str | None, subject: Subject, ui_url: str
) -> Alert:
    """A delivery that is overdue, or one that came after its deadline.

    Args:
        partition: ``FR|2025-01-11``.
        delivered: when it came after all, None while it is missing.
    """
    country, _, day = partition.partition("|")
    came = f"came {delivered}, after its deadline" if delivered else "has not come"
    return Alert(
        key=f"{Kind.DELIVERY}:{feed}:{partition}",
        kind=Kind.DELIVERY,
        severity=Severity.INFO if delivered else Severity.ERROR,
        what=f"{feed} of {country} for {day} {came} (due {due}).",
        why="The marts of this country and of the lookback before that day were incomplete."
        if delivered
        else "The marts of this country and of the lookback before that day are incomplete.",
        todo="Nothing; if it happens often, agree on another deadline."
        if delivered
        else "Ask the sender for the file; it is taken in whenever it comes.",
        link=_asset_page(f"feeds/{feed}", ui_url, "?view=checks"),
        owners=subject.owners,
        domain=subject.domain,
        country=country,
    )


def late_rows(asset: str, run_id: str, days: int, subject: Subject, ui_url: str) -> Alert:
    """Rows older than the lookback came; their days are rebuilt all the same."""
    return Alert(
        key=f"{Kind.LATE_ROWS}:{asset}",
        kind=Kind.LATE_ROWS,
        severity=Severity.INFO,
        what=f"{asset} received rows later than the lookback, of {days} business days.",
        why="Totals of days that were thought closed have changed.",
        todo="Tell the sender if this keeps happening; the days are rebuilt by themselves.",
        link=_asset_page(asset, ui_url, "?view=checks"),
        owners=subject.owners,
        domain=subject.domain,
        occasion=run_id,
        every_occasion=True,
    )


def stale_asset(asset: str, subject: Subject, ui_url: str) -> Alert:
    """An asset whose freshness policy fails."""
    return Alert(
        key=f"{Kind.STALE_ASSET}:{asset}",
        kind=Kind.STALE_ASSET,
        severity=Severity.WARNING,
        what=f"{asset} is stale: its freshness policy fails.",
        why="Readers see older numbers than they were promised.",
        todo="`retail status` says which deliveries are missing; the asset's page which runs "
        "failed.",
        link=_asset_page(asset, ui_url, ""),
        owners=subject.owners,
        domain=subject.domain,
    )


def silent_daemon(name: str, last_seen: datetime | None, ui_url: str) -> Alert:
    """A daemon without a recent heartbeat."""
    seen = f"was last seen {last_seen:%Y-%m-%d %H:%M} UTC" if last_seen else "was never seen"
    return Alert(
        key=f"{Kind.DAEMON}:{name}",
        kind=Kind.DAEMON,
        severity=Severity.ERROR,
        what=f"Daemon {name} {seen}.",
        why="What it does by itself (sensors, schedules, queue, freshness) does not happen.",
        todo="Start `dagster-daemon` again and read its log; `retail doctor` shows the others.",
        link=f"{ui_url}/deployment/daemons",
    )


def failing_sensor(name: str, failures: int, errors: Collection[str], ui_url: str) -> Alert:
    """A sensor or schedule whose last evaluations failed, one after the other.

    Args:
        errors: classes of the errors.
    """
    return Alert(
        key=f"{Kind.SENSOR}:{name}",
        kind=Kind.SENSOR,
        severity=Severity.ERROR,
        what=f"{name} failed {failures} times in a row{f' ({_few(errors)})' if errors else ''}.",
        why="What it watches starts nothing until it works again.",
        todo="Its page shows the error; `retail doctor` looks at what it depends on.",
        link=f"{ui_url}/automation",
    )


def dead_sensor(name: str, last_tick: datetime, ui_url: str) -> Alert:
    """A sensor that is switched on and is not evaluated."""
    return Alert(
        key=f"{Kind.SENSOR}:{name}",
        kind=Kind.SENSOR,
        severity=Severity.ERROR,
        what=f"{name} is on, but was last evaluated {last_tick:%Y-%m-%d %H:%M} UTC.",
        why="What it watches starts nothing until it is evaluated again.",
        todo="Look at the daemon and the code location; `retail doctor` shows both.",
        link=f"{ui_url}/automation",
    )


def open_circuit(name: str, message: str, ui_url: str) -> Alert:
    """A dependency that is not called at present because it kept failing."""
    return Alert(
        key=f"{Kind.DEPENDENCY}:{name}",
        kind=Kind.DEPENDENCY,
        severity=Severity.ERROR,
        what=message,
        why="Runs and sensors that need it wait; what arrives meanwhile is taken in afterwards.",
        todo="Restore the dependency; it is tried again by itself.",
        link=f"{ui_url}/runs",
    )


_BUDGET_SEVERITY = {75: Severity.INFO, 90: Severity.WARNING, 100: Severity.ERROR}


def budget_passed(
    period: str, name: str, level: int, credits: float, budget: float, ui_url: str
) -> Alert:
    """A day or month of which a level of its budget is used up; each level is told once.

    Args:
        period: `day` or `month`.
        name: which one.
        level: percent, one of 75, 90 and 100.
    """
    return Alert(
        key=f"{Kind.BUDGET}:{period}:{name}",
        kind=Kind.BUDGET,
        severity=_BUDGET_SEVERITY[level],
        what=f"{credits:.2f} of {budget:g} credits of the {period} {name} are used: {level} % is "
        "passed.",
        why="What Snowflake bills is money; at its own quota a resource monitor stops the "
        "warehouse, and with it all runs.",
        todo="`retail cost` says which assets, countries and warehouses it went to, and how much "
        "was idle.",
        link=f"{ui_url}/runs",
        occasion=str(level),
        every_occasion=True,
    )


def blind_spot(kind: Kind, error: str, ui_url: str) -> Alert:
    """Something could not be looked at, so nothing is known about its troubles.

    Args:
        error: class of the error.
    """
    return Alert(
        key=f"{Kind.BLIND}:{kind}",
        kind=Kind.BLIND,
        severity=Severity.WARNING,
        what=f"Alerts of kind {kind} could not be looked for ({error}).",
        why="Their troubles begin and end unseen until this works again.",
        todo="`retail doctor` looks at lake, warehouse and Dagster.",
        link=f"{ui_url}/automation",
    )


def _asset_page(asset: str, ui_url: str, view: str) -> str:
    return f"{ui_url}/assets/{quote(asset)}{view}"


def _owners(subjects: Collection[Subject]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(owner for s in subjects for owner in s.owners)) or (PLATFORM_TEAM,)


def _few(names: Collection[str], most: int = 4) -> str:
    shown = list(names)[:most]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
