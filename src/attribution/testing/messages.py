"""Requests, responses and errors of the org's API, and how they are spelled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["ApiError", "Request", "Response", "as_json", "not_found", "timestamp"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """An answer to be sent."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """An answer that is an error, as Salesforce spells it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.response = as_json([{"message": message, "errorCode": code}], status)


def as_json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response whose body is a JSON document."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, body, {"Content-Type": "application/json;charset=UTF-8", **(headers or {})})


def not_found() -> ApiError:
    """Return the error for a path that leads nowhere."""
    return ApiError(404, "NOT_FOUND", "The requested resource does not exist")


def timestamp(instant: datetime) -> str:
    """Spell an instant as the REST API does."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}+0000"
