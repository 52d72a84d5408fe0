"""A script of faults: which requests fail, how, and how often.

Examples
--------
>>> faults = Faults()
>>> faults.add(r"/query", times=2, status=503, body="down", headers={"Content-Type": "text/html"})
>>> faults.reset(r"/jobs/query/.*/results")
>>> [faults.next("GET", "/services/data/v68.0/query") is not None for _ in range(3)]
[True, True, False]
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Fault", "Faults"]


@dataclass
class Fault:
    """One entry of the script.

    Parameters
    ----------
    path
        Regular expression, searched in the path of the request (without its query string).
    method
        Only requests of that method; None is any.
    skip, times
        Let so many matching requests pass first, then fail so many; ``times=None`` never stops.
    status, body, headers
        The answer instead of the real one. With ``status=None`` the real one is made, then cut or dropped.
    keep
        Send so many bytes of the body, announce all of them, and hang up.
    drop
        Hang up without an answer.
    """

    path: str
    method: str | None = None
    times: int | None = 1
    skip: int = 0
    status: int | None = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    keep: int | None = None
    drop: bool = False
    used: int = 0


class Faults:
    """The script of faults of an org; entries are tried in the order of adding."""

    def __init__(self) -> None:
        self._script: list[Fault] = []
        self._lock = threading.Lock()

    def add(
        self,
        path: str,
        *,
        method: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        status: int | None = None,
        body: str | bytes | Any = b"",
        headers: Mapping[str, str] | None = None,
        keep: int | None = None,
        drop: bool = False,
    ) -> None:
        """Add an entry; see ``Fault``. A body that is neither text nor bytes is sent as JSON."""
        given = dict(headers or {})
        if not isinstance(body, str | bytes):
            body = json.dumps(body)
            given.setdefault("Content-Type", "application/json;charset=UTF-8")
        data = body.encode() if isinstance(body, str) else body
        with self._lock:
            self._script.append(Fault(path, method, times, skip, status, data, given, keep, drop))

    def error(self, path: str, status: int, code: str, message: str, **options: Any) -> None:
        """Answer with an error as Salesforce's REST API spells it."""
        self.add(path, status=status, body=[{"message": message, "errorCode": code}], **options)

    def expired_session(self, path: str = "", **options: Any) -> None:
        """Answer 401 INVALID_SESSION_ID."""
        self.error(path, 401, "INVALID_SESSION_ID", "Session expired or invalid", **options)

    def quota_exceeded(self, path: str = "", **options: Any) -> None:
        """Answer 403 REQUEST_LIMIT_EXCEEDED: the calls of the day are used up."""
        self.error(path, 403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", **options)

    def unavailable(self, path: str = "", **options: Any) -> None:
        """Answer 503 with a page of HTML."""
        self.html(path, status=503, **options)

    def too_many_requests(self, path: str = "", *, retry_after: int = 1, **options: Any) -> None:
        """Answer 429 with Retry-After in seconds."""
        self.add(path, status=429, headers={"Retry-After": str(retry_after)}, **options)

    def html(self, path: str = "", *, status: int = 200, **options: Any) -> None:
        """Answer with a page of HTML where JSON or CSV is due."""
        page = "<html><head><title>Salesforce</title></head><body>We are down for maintenance.</body></html>"
        self.add(
            path, status=status, body=page, headers={"Content-Type": "text/html;charset=UTF-8"}, **options
        )

    def reset(self, path: str = "", **options: Any) -> None:
        """Hang up without an answer."""
        self.add(path, drop=True, **options)

    def truncated(self, path: str = "", *, keep: int = 20, **options: Any) -> None:
        """Send the first bytes of the real answer, then hang up."""
        self.add(path, keep=keep, **options)

    def clear(self) -> None:
        """Forget the script."""
        with self._lock:
            self._script.clear()

    @property
    def pending(self) -> int:
        """How many entries have not failed as often as they should."""
        with self._lock:
            return sum(
                fault.times is not None and fault.used < fault.skip + fault.times for fault in self._script
            )

    def next(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, if any."""
        with self._lock:
            for fault in self._script:
                if fault.method not in (None, method) or re.search(fault.path, path) is None:
                    continue
                if fault.times is not None and fault.used >= fault.skip + fault.times:
                    continue
                fault.used += 1
                if fault.used > fault.skip:
                    return fault
            return None
