"""The way to a Snowflake account: name, port, proxy, certificate. Nobody logs in.

Asked by the library that Snowflake's connector asks with, so that proxies and certificates are what
they are for it. The connector itself tries for minutes and says the same of all of them.
"""

import re
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.exceptions import ConnectTimeout, ProxyError, SSLError, Timeout
from requests.utils import select_proxy

from retail_platform.errors import WarehouseBusy
from retail_platform.settings import SnowflakeAccount
from retail_platform.warehouse.snowflake_account import host_of

_SECONDS = 10


def reach(account: SnowflakeAccount) -> None:
    """Come as far as the first answer of a server, whatever it says.

    Raises:
        WarehouseBusy: it was not reached; the words say how far one comes.
    """
    where = host_of(account)
    url = f"{account.protocol or 'https'}://{where}/"
    with requests.Session() as session:
        found = session.merge_environment_settings(url, {}, False, None, None)
        proxy = urlsplit(select_proxy(url, found["proxies"]) or "")
        try:
            session.head(url, timeout=_SECONDS, allow_redirects=False)
        except requests.RequestException as exc:
            # Not what the library says as a whole: a proxy's address may hold a password.
            by = f"proxy {proxy.hostname}:{proxy.port}" if proxy.hostname else ""
            raise WarehouseBusy(f"Snowflake is not reached: {_told(exc, where, by)}") from None


def _told(error: requests.RequestException, where: str, proxy: str) -> str:
    reason = _innermost(error)
    if isinstance(error, ProxyError):
        return (
            f"{proxy} does not let through to {where}: {reason} Check HTTPS_PROXY, and NO_PROXY "
            "for private links."
        )
    if isinstance(error, SSLError):
        return (
            f"{where} shows a certificate that is not trusted, or speaks no TLS: {reason} Where a "
            "proxy opens TLS, REQUESTS_CA_BUNDLE names the certificate of its authority."
        )
    if isinstance(error, ConnectTimeout):
        return (
            f"{proxy or where} does not answer within {_SECONDS} s; a firewall drops what is sent "
            "there, or it has to go through a proxy (HTTPS_PROXY)."
        )
    if isinstance(error, Timeout):
        return f"{where} takes the connection, but answers nothing within {_SECONDS} s."
    if "resolve" in reason or "Name or service" in reason or "name resolution" in reason:
        return (
            f"the name {where} does not resolve: {reason} Check SNOWFLAKE_ACCOUNT "
            "(<organisation>-<account>) or SNOWFLAKE_HOST, and the name server of this machine."
        )
    return f"{proxy or where} takes no connection: {reason} Check SNOWFLAKE_PORT and the firewall."


def _innermost(error: BaseException) -> str:
    """The last link of the chain that the library wraps into each other, as one sentence."""
    current: Any = error
    while True:
        inner = getattr(current, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((a for a in reversed(current.args) if isinstance(a, BaseException)), None)
        if inner is None:
            break
        current = inner
    text = re.sub(r"^\w*Connection\(.*?\): ", "", str(current))
    return text if text.endswith(".") else f"{text}."
