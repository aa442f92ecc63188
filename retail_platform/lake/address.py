"""Addresses of the lake in an object store, and how Snowflake spells the same place."""

import re

from retail_platform.errors import ConfigurationError

AZURE_ENDPOINT = "blob.core.windows.net"
_SHAPES = {
    "S3": r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]+)(?P<prefix>(?:/[\w.=+-]+)*)/?",
    "GCS": r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]+)(?P<prefix>(?:/[\w.=+-]+)*)/?",
    "AZURE": (
        r"abfss://(?P<bucket>[a-z0-9][a-z0-9-]+)@(?P<account>[a-z0-9]{3,24})"
        r"\.dfs\.core\.windows\.net(?P<prefix>(?:/[\w.=+-]+)*)/?"
    ),
}
"""Storage provider, as Snowflake calls it -> addresses that can be spelled for it."""


def provider_of(lake_url: str) -> str:
    """``S3``, ``GCS`` or ``AZURE``.

    Raises:
        ConfigurationError: a lake that no stage of Snowflake can lie over, or az://, which does
            not say in which account.
    """
    return _read(lake_url)[0]


def stage_url(lake_url: str) -> str:
    """The root of a lake as the URL of an external stage, with a slash at its end.

    ``s3://bucket/prefix/``, ``gcs://bucket/prefix/`` or
    ``azure://account.blob.core.windows.net/container/prefix/``.

    Raises:
        ConfigurationError: as `provider_of`.
    """
    provider, match = _read(lake_url)
    root = f"{match['bucket']}{match['prefix']}/"
    if provider == "AZURE":
        return f"azure://{match['account']}.{AZURE_ENDPOINT}/{root}"
    return f"{'gcs' if provider == 'GCS' else 's3'}://{root}"


def _read(lake_url: str) -> tuple[str, re.Match[str]]:
    for provider, shape in _SHAPES.items():
        match = re.fullmatch(shape, lake_url)
        if match:
            return provider, match
    raise ConfigurationError(
        f"RETAIL_LAKE_URL is {lake_url!r}, which no stage of Snowflake can lie over; expected "
        "s3://bucket/prefix, gs://bucket/prefix or "
        "abfss://container@account.dfs.core.windows.net/prefix."
    )
