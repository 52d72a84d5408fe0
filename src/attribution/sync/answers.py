"""How long one answer may take and how large it may grow: none holds a sync up, or fills its memory."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.response import BaseHTTPResponse
from urllib3.util.ssl_ import create_urllib3_context

from attribution.sync.failures import Garbled

__all__ = ["BoundedAdapter"]

_GLANCE: Final = 1.0
"""So many seconds at most nobody looks whether to go on waiting."""
_LARGEST: Final = 512 * 2**20
"""Bytes, unpacked: ten thousand for each row of the largest page."""


class BoundedAdapter(HTTPAdapter):
    """Connections whose answers end, whatever the other side sends.

    The timeouts of requests hold for each wait alone: a byte a second outlives them for ever.

    Parameters
    ----------
    check
        Called before each wait, and at least every second in it; whatever it raises ends the answer.
    largest
        Bytes that an answer may have.
    """

    def __init__(self, check: Callable[[], None], largest: int = _LARGEST) -> None:
        self._context = _watched(check)
        self._largest = largest
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pool of the connections that need no proxy."""
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Make the pool of the connections that go through a proxy."""
        return super().proxy_manager_for(*args, ssl_context=self._context, **options)

    def build_response(self, req: requests.PreparedRequest, resp: BaseHTTPResponse) -> requests.Response:
        """Make an answer of what came, its body still to be read."""
        response = super().build_response(req, resp)
        response.raw = _Bounded(resp, self._largest)
        return response


class _Bounded:
    """A body that is broken off where it becomes too large."""

    def __init__(self, body: BaseHTTPResponse, largest: int) -> None:
        self._body = body
        self._largest = largest

    def stream(self, *args: Any, **options: Any) -> Iterator[bytes]:
        size = 0
        for chunk in self._body.stream(*args, **options):
            size += len(chunk)
            if size > self._largest:
                raise Garbled(f"more than {self._largest:,} bytes")
            yield chunk

    def read(self, decode_content: bool | None = None) -> bytes:
        """All of it: requests asks for that where a redirect cannot be unpacked."""
        return b"".join(self.stream(2**16, decode_content=decode_content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def _watched(check: Callable[[], None]) -> ssl.SSLContext:
    """Settings of TLS whose sockets look up while they wait for bytes."""

    class Watched(ssl.SSLSocket):
        def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
            allowed, waited = self.gettimeout(), 0.0
            try:
                while True:
                    check()
                    self.settimeout(_GLANCE if allowed is None else min(_GLANCE, allowed - waited))
                    try:
                        return super().recv_into(buffer, nbytes, flags)
                    except TimeoutError:
                        waited += _GLANCE
                        if allowed is not None and waited >= allowed:
                            raise
            finally:
                self.settimeout(allowed)

    context = create_urllib3_context()
    context.sslsocket_class = Watched
    return context
