"""Pages of a REST service.

dlt's client turns pages and signs requests; the session here keeps the pace, repeats what failed
for now, and never carries a secret to another host. What the records mean and which of them are new
is decided elsewhere.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from dlt.common.configuration.specs.runtime_configuration import RuntimeConfiguration
from dlt.common.jsonpath import find_values
from dlt.sources.helpers.requests.retry import retry_if_status, wait_exponential_retry_after
from dlt.sources.helpers.requests.session import Session
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client import auth as signing
from dlt.sources.helpers.rest_client import paginators as turning
from dlt.sources.helpers.rest_client.redaction import sanitize_url
from requests import HTTPError, PreparedRequest, Response
from requests.auth import AuthBase
from requests.exceptions import (
    ChunkedEncodingError,
    ConnectionError,
    JSONDecodeError,
    RequestException,
    Timeout,
)
from tenacity import (
    Retrying,
    retry_any,
    retry_if_exception_type,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
    wait_random,
)

from retail_platform.errors import SourceRefused, SourceUnavailable
from retail_platform.pull import sources
from retail_platform.pull.credentials import Credentials

_FOR_NOW = (408, 425, 429, *range(500, 600))
_LOST = (ConnectionError, Timeout, ChunkedEncodingError)
_SHOWN_CHARACTERS = 200


@dataclass
class Traffic:
    """What a pull cost: requests (repeated ones too), pages or chunks, bytes received."""

    requests: int = 0
    pages: int = 0
    bytes: int = 0


def rest_pages(
    source: sources.RestSource,
    path: str,
    params: Mapping[str, Any],
    credentials: Credentials,
    traffic: Traffic,
) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Records of one request and the pages that follow it.

    Args:
        path, params: with everything filled in.
        traffic: counts as pages come.

    Raises:
        SourceUnavailable: the service did not answer as it should, however often it was asked.
        SourceRefused: it answered what no repetition changes.
        ConfigurationError: a secret is not set.
    """
    session = _PatientSession(source, traffic)
    client = RESTClient(
        source.url,
        auth=_auth(source, credentials, session),
        paginator=_paginator(source.paging),
        data_selector=source.records,
        session=session,
        # Said, so that dlt looks for no configuration of its own.
        config=RuntimeConfiguration(),
    )
    before = b""
    try:
        for page in client.paginate(path, params=dict(params)):
            traffic.pages += 1
            content = page.response.content
            if content == before and page:
                raise SourceRefused(
                    f"Page {traffic.pages} of {_shown(page.response.url)} is page "
                    f"{traffic.pages - 1} again. Correct `paging` of the source."
                )
            before = content
            yield _records(source, page.response, page)
    except RequestException as exc:
        # Without the cause: its text has the whole address in it, parameters included.
        raise _told(source, exc, credentials) from None
    except (ValueError, TypeError) as exc:  # what dlt says about a body it cannot turn pages in
        complaint = str(exc).partition(", got ")[0][:_SHOWN_CHARACTERS]  # what follows is the body
        raise SourceRefused(
            f"{source.shown}: {complaint} Correct `paging` or `records` of the source."
        ) from None
    finally:
        session.close()


def _records(
    source: sources.RestSource, response: Response, page: Sequence[Any]
) -> Sequence[Mapping[str, Any]]:
    if not page:
        body = response.json()
        if not find_values(source.records, body):
            there = f"the keys {', '.join(list(body)[:20])}" if isinstance(body, dict) else "a list"
            raise SourceRefused(
                f"The answer of {_shown(response.url)} has nothing at {source.records!r}; it has "
                f"{there}. Correct `records` of the source."
            )
    for record in page:
        if not isinstance(record, Mapping):
            raise SourceRefused(
                f"What {_shown(response.url)} has at {source.records!r} is no list of objects but "
                f"of {type(record).__name__}. Correct `records` of the source."
            )
    return page


class _PatientSession(Session):
    """Sends requests to the hosts of one source, at its pace, until they are answered."""

    def __init__(self, source: sources.RestSource, traffic: Traffic) -> None:
        super().__init__(timeout=source.timeout_seconds, raise_for_status=False)
        self._pause = 1 / source.requests_per_second
        self._next_at = 0.0
        self._traffic = traffic
        self._hosts = {_host(source.url)}
        if isinstance(source.auth, sources.ClientCredentials):
            self._hosts.add(_host(source.auth.token_url))
        backoff = source.backoff_seconds
        self._retrying = Retrying(
            retry=retry_any(retry_if_status(_FOR_NOW), retry_if_exception_type(_LOST)),
            # What the service says goes before our own patience, and may exceed it.
            wait=wait_exponential_retry_after(multiplier=backoff, max=source.patience_seconds)
            + wait_random(0, backoff),
            stop=stop_any(
                stop_after_attempt(source.attempts), stop_before_delay(source.patience_seconds)
            ),
            reraise=True,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send one request, and again where that may help."""
        if _host(request.url or "") not in self._hosts:
            # Pages and redirections may name any address; the token is for this one only.
            raise SourceRefused(
                f"The service refers to {_shown(request.url or '')}, which is not its own host "
                f"({', '.join(sorted(self._hosts))}). If that is right, make it the source's url."
            )
        response: Response = self._retrying(self._send_once, request, **kwargs)
        return response

    def _send_once(self, request: PreparedRequest, **kwargs: Any) -> Response:
        pause = self._next_at - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        self._next_at = time.monotonic() + self._pause
        self._traffic.requests += 1
        response: Response = super().send(request, **kwargs)
        self._traffic.bytes += len(response.content)
        # Amounts keep the digits they were sent with.
        response.json = partial(response.json, parse_float=Decimal)
        return response


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _shown(url: str) -> str:
    """An address for people: no user, no secrets, no parameters that run over the line."""
    parts = urlsplit(sanitize_url(url))
    return parts._replace(netloc=_host(url)).geturl()[:_SHOWN_CHARACTERS]


def _told(
    source: sources.RestSource, error: RequestException, credentials: Credentials
) -> SourceUnavailable | SourceRefused:
    """The error a caller can act on."""
    response = error.response
    url = _shown(response.url) if response is not None else source.shown
    if isinstance(error, JSONDecodeError):
        return SourceUnavailable(
            credentials.hide(f"{source.shown} answered something that is no JSON ({error.msg})."),
            source.name,
        )
    if isinstance(error, HTTPError) and response is not None:
        said = " ".join(response.text.split())[:_SHOWN_CHARACTERS]
        seen = credentials.hide(f"{url} answered {response.status_code} {response.reason}: {said}")
        if response.status_code in _FOR_NOW:
            wait = response.headers.get("Retry-After")
            return SourceUnavailable(
                f"{seen} (asked up to {source.attempts} times within {source.patience_seconds:g} s"
                f"{f', it says to come back after {wait} s' if wait else ''}). The next pull goes "
                "on where this one began.",
                source.name,
            )
        hint = "; check the secrets of the source" if response.status_code in (401, 403) else ""
        return SourceRefused(f"{seen}. Correct the source{hint}.")
    if isinstance(error, _LOST):
        kind = "did not answer in time" if isinstance(error, Timeout) else "cannot be reached"
        return SourceUnavailable(
            f"{url} {kind} ({type(error).__name__}, asked up to {source.attempts} times, "
            f"{source.timeout_seconds:g} s each). The next pull goes on where this one began.",
            source.name,
        )
    return SourceRefused(credentials.hide(f"{url}: {type(error).__name__}. Correct the source."))


def _auth(
    source: sources.RestSource, credentials: Credentials, session: Session
) -> AuthBase | None:
    auth = source.auth
    if auth is None:
        return None
    if isinstance(auth, sources.BearerAuth):
        return signing.BearerTokenAuth(credentials.reveal(auth.token))
    if isinstance(auth, sources.HeaderAuth):
        return signing.APIKeyAuth(auth.name, credentials.reveal(auth.token), "header")
    if isinstance(auth, sources.BasicAuth):
        return signing.HttpBasicAuth(
            credentials.reveal(auth.username), credentials.reveal(auth.password)
        )
    return signing.OAuth2ClientCredentials(
        access_token_url=auth.token_url,
        client_id=credentials.reveal(auth.client_id),
        client_secret=credentials.reveal(auth.client_secret),
        access_token_request_data={"scope": auth.scope} if auth.scope else {},
        session=session,
    )


def _paginator(paging: sources.Paging) -> turning.BasePaginator:
    if isinstance(paging, sources.LinkHeader):
        return turning.HeaderLinkPaginator()
    if isinstance(paging, sources.NextUrl):
        return turning.JSONLinkPaginator(paging.path)
    if isinstance(paging, sources.BodyCursor):
        return turning.JSONResponseCursorPaginator(paging.path, paging.param)
    if isinstance(paging, sources.PageNumber):
        return turning.PageNumberPaginator(
            paging.first, page_param=paging.param, total_path=paging.total_path
        )
    if isinstance(paging, sources.Offset):
        return turning.OffsetPaginator(
            paging.limit,
            offset_param=paging.param,
            limit_param=paging.limit_param,
            total_path=paging.total_path,
        )
    return turning.SinglePagePaginator()
