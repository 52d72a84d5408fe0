"""What can go wrong, divided by what the caller does next.

::

    AttributionError                     (catch this one to catch them all)
    ├── UsageError                 2     correct the call: a name, a date, an option, a variable
    ├── CrmError                   3     the CRM could not be read
    │   ├── TransientCrmError      3     try again later: it was tried several times already
    │   └── RefusedError           3     see an administrator: credentials, permissions, a retired version
    ├── StoppedEarly               4     run it again to resume: quota, call cap or deadline reached
    ├── DataError                  5     correct the records: what was read cannot be what was asked for
    └── StoreError                 5     look at the store: none, of another org, newer, or being written

Examples
--------
>>> from attribution.errors import AttributionError, UsageError
>>> try:
...     raise UsageError("there is no partner 'Acme'", hint="known partners: Globex, Initech")
... except AttributionError as error:
...     print(f"{error.code} {error.exit_code}: {error} Hint: {error.hint}")
usage 2: there is no partner 'Acme' Hint: known partners: Globex, Initech
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

__all__ = [
    "AttributionError",
    "CrmError",
    "DataError",
    "RefusedError",
    "StoppedEarly",
    "StoreError",
    "TransientCrmError",
    "UsageError",
]


class AttributionError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    message
        What went wrong and where, in one line, without secrets.
    hint
        What to do next.
    """

    code: ClassVar[str] = "error"
    """Machine-readable name of the reaction, as printed by ``--json``."""
    exit_code: ClassVar[int] = 1
    """What the command line exits with."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # keyword-only arguments do not survive the default pickling of exceptions
        return (_rebuild, (type(self), self.message, self.hint), self.__dict__)


def _rebuild(kind: type[AttributionError], message: str, hint: str | None) -> AttributionError:
    return kind(message, hint=hint)


class UsageError(AttributionError):
    """A wrong name, date, option or environment variable: correct the call."""

    code = "usage"
    exit_code = 2


class CrmError(AttributionError):
    """The CRM could not be read."""

    code = "crm"
    exit_code = 3


class TransientCrmError(CrmError):
    """The CRM failed in a way that passes; it was tried several times. Run it again later."""

    code = "crm_unavailable"


class RefusedError(CrmError):
    """The CRM refuses: credentials, permissions or a retired API version. See an administrator."""

    code = "crm_refused"


class StoppedEarly(AttributionError):
    """A budget ran out before the work was done; run it again to resume."""

    code = "stopped_early"
    exit_code = 4
    report: Any = None
    """What was done before, such as the :class:`~attribution.sync.report.SyncReport` of a sync; else None."""


class DataError(AttributionError):
    """What was read cannot be what was asked for: correct the records or the mapping."""

    code = "data"
    exit_code = 5


class StoreError(AttributionError):
    """The folder is no store, belongs to another org, is newer, or is being written by another job."""

    code = "store"
    exit_code = 5


def known(names: Iterable[str], limit: int = 12) -> str:
    """Name what exists, sorted, for a hint; long lists are cut and say so.

    Examples
    --------
    >>> known(["b", "a"])
    'a, b'
    """
    ordered = sorted(names)
    shown = ", ".join(ordered[:limit])
    return f"{shown}, … ({len(ordered)} in all)" if len(ordered) > limit else shown or "none"
