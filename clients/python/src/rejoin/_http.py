"""What the two shells have in common: how httpx is told what the core wants."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import httpx

from ._wire import Failure, Request, header_text

try:
    __version__ = version("rejoin-client")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0"

TOKEN_LENGTH_MAX = 65536


def base_url(url: str) -> str:
    """The server's URL, maybe with a path that its own paths are under."""
    parsed = httpx.URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("`url` begins with http:// or https://, such as http://127.0.0.1:8080")
    if parsed.query or parsed.fragment:
        raise ValueError("`url` has no query and no fragment")
    return str(parsed).rstrip("/")


def checked_token(token: str) -> str:
    """A token that a header can carry."""
    return header_text("a token", token, TOKEN_LENGTH_MAX)


def headers(request: Request, token: str | None) -> dict[str, str]:
    """The headers of a request."""
    own = {"user-agent": f"rejoin-client/{__version__}", "accept-encoding": "identity"}
    if token is not None:
        own["authorization"] = f"Bearer {checked_token(token)}"
    return own | dict(request.headers)


def timeout(request: Request) -> httpx.Timeout:
    """The timeouts of a request."""
    return httpx.Timeout(request.timeout_seconds, read=request.read_timeout_seconds)


def failure_of(error: httpx.RequestError) -> Failure:
    """What httpx raised, as the core takes it."""
    not_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    never_passes = isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError))
    return Failure(error, not_sent=not_sent, may_pass=not never_passes)


def answer_headers(response: httpx.Response) -> Mapping[str, str]:
    """An answer's headers, by their names in lower case."""
    return {name.lower(): value for name, value in response.headers.items()}
