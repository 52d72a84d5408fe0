"""Salesforce as a source: describe, count, read by REST or in bulk, and what was deleted."""

from __future__ import annotations

import copy
import functools
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import polars as pl
from pydantic import BaseModel

from attribution.arrays import INSTANT
from attribution.errors import CrmError, RefusedError, StoppedEarly, TransientCrmError
from attribution.sync.budget import Budget
from attribution.sync.credentials import Connection, Environment, login_for
from attribution.sync.descriptions import ObjectDescription, ObjectSummary
from attribution.sync.documents import Covered, DeletedRecords, Global, Object, described, validated
from attribution.sync.failures import Garbled, Kind, http_date, kind_of, read_json
from attribution.sync.inquiries import Inquiries
from attribution.sync.intake import Intake
from attribution.sync.rest import selected
from attribution.sync.schema import Kept, Schema
from attribution.sync.source import Changes, Deletions, Query
from attribution.sync.transport import Transport
from attribution.sync.watermark import Window
from attribution.sync.wire import Wire

__all__ = ["Salesforce"]

_ORGANIZATION: Final = re.compile(r"00D[0-9A-Za-z]{12}(?:[0-9A-Za-z]{3})?")
_NAMED: Final = 50
"""So many of the records that have changed are named."""
_OPEN: Final = timedelta(days=2)
"""No transaction is open longer than that: changes are always covered up to then."""
_SHORTEST: Final = timedelta(minutes=2)
"""A span for which Salesforce lists few ids; it wants more than one minute."""
_NEAR: Final = timedelta(hours=1)
"""So far outside of a span a deletion may be that is listed for it: Salesforce counts whole minutes."""

M = TypeVar("M", bound=BaseModel)


class Salesforce(Inquiries):
    """A connection to a Salesforce organization, read-only.

    Nothing is sent before it is first needed. Give an instance and a token, or one of the logins; each
    parameter has an environment variable of the same name in capitals after ``SALESFORCE_``, which
    :meth:`from_env` reads instead.

    Parameters
    ----------
    instance_url, access_token
        Where the organization lives, and a session there.
    domain, client_id, client_secret
        My Domain (such as ``acme.my``) and a connected app with the client credentials flow.
    username, private_key_file
        With ``client_id``: a connected app with the JWT bearer flow.
    password, security_token
        With ``username``: the old login, which Salesforce retires in 2027; a warning says so.
    login_url
        Where to log in, instead of the address made from ``domain``; https only.
    api_version
        Version of the REST API.
    ca_bundle
        PEM file of the authorities to trust, instead of what ``REQUESTS_CA_BUNDLE`` or the system says.
    retry_base_seconds, bulk_poll_seconds
        First waits after a failure that passes, and between looks at a bulk job; both grow.
    sleep, clock
        How to wait, and to tell the seconds of a deadline.

    Raises
    ------
    UsageError
        If a value is missing, or an address is not https.

    Examples
    --------
    >>> from attribution import Salesforce
    >>> Salesforce(instance_url="https://acme.my.salesforce.com", access_token="an access token")
    Salesforce('acme.my.salesforce.com')
    """

    def __init__(
        self,
        *,
        instance_url: str | None = None,
        access_token: str | None = None,
        domain: str | None = None,
        login_url: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        username: str | None = None,
        private_key_file: str | Path | None = None,
        password: str | None = None,
        security_token: str | None = None,
        api_version: str = "59.0",
        ca_bundle: str | Path | None = None,
        retry_base_seconds: float = 0.5,
        bulk_poll_seconds: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        given = {
            "salesforce_instance_url": instance_url,
            "salesforce_access_token": access_token,
            "salesforce_domain": domain,
            "salesforce_login_url": login_url,
            "salesforce_client_id": client_id,
            "salesforce_client_secret": client_secret,
            "salesforce_username": username,
            "salesforce_private_key_file": private_key_file,
            "salesforce_password": password,
            "salesforce_security_token": security_token,
            "salesforce_api_version": api_version,
            "attribution_retry_base_seconds": retry_base_seconds,
            "attribution_bulk_poll_seconds": bulk_poll_seconds,
        }
        bundle = None if ca_bundle is None else str(ca_bundle)
        self._connect(Connection.of(**given), bundle, sleep, clock)

    @classmethod
    def from_env(cls) -> Salesforce:
        """Connect with what the environment variables say.

        Raises
        ------
        UsageError
            Naming the variable that is missing or wrong.
        """
        salesforce = cls.__new__(cls)
        salesforce._connect(Environment.of(), None, time.sleep, time.monotonic)
        return salesforce

    def _connect(
        self,
        connection: Connection,
        ca_bundle: str | None,
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        login = login_for(connection)
        self._host = login.host
        self._base = f"/services/data/v{connection.salesforce_api_version}"
        self._user = connection.salesforce_username or connection.salesforce_client_id or ""
        self._poll_seconds = connection.attribution_bulk_poll_seconds
        self._wire = Wire(
            login.host,
            login.obtain,
            secrets=login.secrets,
            can_renew=login.can_renew,
            retry_base_seconds=connection.attribution_retry_base_seconds,
            ca_bundle=ca_bundle,
            sleep=sleep,
            clock=clock,
        )
        self._transport = Transport(self._wire, self._base, self._poll_seconds, lambda: self.user_id)

    def __repr__(self) -> str:
        return f"Salesforce({self._host!r})"

    def twin(self) -> Salesforce:
        """Another connection, for another thread: same login and limits; it counts its own calls only."""
        twin = copy.copy(self)
        twin._wire = self._wire.twin()
        twin._transport = Transport(twin._wire, twin._base, twin._poll_seconds, lambda: twin.user_id)
        return twin

    def stop(self, reason: StoppedEarly) -> None:
        """Send nothing more within the present limits, on this connection or a twin of it."""
        self._wire.stop(reason)

    @property
    def api_calls(self) -> int:
        """HTTP requests sent so far, retries and logins included, and those of twins."""
        return self._wire.sent

    @property
    def viewer(self) -> str:
        """Who asks, and how: whoever has the same one sees the same objects and fields."""
        return hashlib.sha256(f"{self._host} {self._base} {self._user}".encode()).hexdigest()[:32]

    @property
    def daily_usage(self) -> tuple[int, int] | None:
        """API calls of the whole organization in the last 24 hours, and how many are allowed."""
        return self._wire.usage

    @functools.cached_property
    def organization_id(self) -> str:
        """Id of the organization, 18 characters."""
        records = self._transport.queries.page("SELECT Id FROM Organization").records
        if len(records) != 1 or not _ORGANIZATION.fullmatch(str(records[0].get("Id"))):
            raise RefusedError(
                "Salesforce does not show the Organization record",
                hint="the connected user needs 'View Setup and Configuration' or read access to Organization",
            )
        return str(records[0]["Id"])

    @property
    def server_time(self) -> datetime:
        """The server's clock, as told by its latest answer."""
        if self._wire.server_time is None:
            self._wire.get_json("/services/data")
        if self._wire.server_time is None:
            raise CrmError("Salesforce: the answers carry no Date")
        return self._wire.server_time

    def limits(self) -> dict[str, Any]:
        """The organization's limits as ``/limits`` tells them, with numbers as text."""
        limits = self._wire.get_json(f"{self._base}/limits")
        return limits if isinstance(limits, dict) else {}

    @contextmanager
    def limited(self, budget: Budget) -> Iterator[None]:
        """Within, send no more than a budget allows: the request that would exceed it raises StoppedEarly."""
        with self._wire.limited(budget):
            if budget.max_quota_percent is not None and self.daily_usage is None:
                try:
                    self.limits()
                except RefusedError as error:
                    # not everybody may ask for the limits; every other answer tells the usage, too
                    if kind_of(error) not in (Kind.REFUSED, Kind.MISSING):
                        raise
            yield

    def objects(self) -> Mapping[str, ObjectSummary]:
        """Every object that the connected user can see."""
        found = self._wire.call(
            "GET", f"{self._base}/sobjects", lambda response: validated(Global, read_json(response))
        )
        summaries = (
            ObjectSummary(each.name, each.key_prefix, each.queryable, each.label, each.replicateable)
            for each in found.sobjects
        )
        return {summary.name: summary for summary in summaries}

    def describe(self, object: str, schema: Schema | None = None, *, anew: bool = False) -> ObjectDescription:
        """The fields of one object that the connected user can read.

        What ``schema`` knows is not sent again unless it has changed since, or is asked for ``anew``;
        what is sent it learns.
        """
        now = self.server_time if schema is not None else None
        kept = None if schema is None or now is None or anew else schema.get(object, now)

        def accept(response: Any) -> Object:
            if kept is not None and response.status_code == 304:
                return validated(Object, kept.document)
            found = validated(Object, read_json(response))
            if found.name.casefold() != object.casefold():
                raise Garbled("the description of another object")
            modified = response.headers.get("Last-Modified", "")
            if schema is not None and now is not None and http_date(modified) is not None:
                schema.put(object, Kept(modified, now, found.model_dump(by_alias=True, mode="json")))
            return found

        headers = {"If-Modified-Since": kept.modified} if kept is not None else None
        found = self._wire.call("GET", f"{self._base}/sobjects/{object}/describe", accept, headers=headers)
        return described(found)

    def count(
        self,
        object: str,
        where: str | None = None,
        *,
        window: Window | None = None,
        cursor: str | None = None,
    ) -> int:
        """Number of records, soft-deleted ones included, that meet a SOQL condition."""
        return self._transport.queries.count(object, where, window=window, cursor=cursor)

    def count_by(self, object: str, path: str) -> dict[str | None, int]:
        """Number of live records per value of a field, or of one behind a lookup."""
        soql = f"SELECT {path} value, COUNT(Id) n FROM {object} GROUP BY {path}"
        try:
            return {
                each["value"]: int(each["n"]) for each in self._transport.queries.page(soql, "query").records
            }
        except (KeyError, TypeError, ValueError):
            raise TransientCrmError("Salesforce: the answer to a count by value makes no sense") from None

    def effort(self, rows: int) -> tuple[str, int]:
        """How so many records would be read, ``REST`` or ``bulk``, and in about how many calls."""
        return self._transport.effort(rows)

    def changes(self, object: str, since: datetime, until: datetime) -> Changes:
        """Whether a replicateable object has changed, and up to which instant every change is visible."""
        path = f"{self._base}/sobjects/{object}/updated/"
        try:
            found = self._covered(path, since, until)
        except CrmError as error:
            if kind_of(error) is not Kind.TOO_MANY:
                raise
            found = self._covered(path, until - _SHORTEST, until)
            return Changes(min(found.until, self.server_time), has_any=True)
        covered_until = min(found.until, self.server_time)
        return Changes(covered_until, has_any=bool(found.ids), ids=tuple(found.ids[:_NAMED]))

    def _covered(self, path: str, since: datetime, until: datetime) -> Covered:
        def check(found: Covered) -> None:
            if found.until < since - _OPEN:
                raise Garbled(f"changes covered until {found.until:%Y-%m-%d} only")

        return self._of_span(Covered, path, since, until, check)

    def deletions(self, object: str, since: datetime, until: datetime) -> Deletions:
        """Which records of a replicateable object were deleted in a span of time."""

        def check(found: DeletedRecords) -> None:
            # what is told of another time tells nothing of this one
            if not all(since - _NEAR <= each.at <= until + _NEAR for each in found.records):
                raise Garbled("deletions of another time")

        path = f"{self._base}/sobjects/{object}/deleted/"
        found = self._of_span(DeletedRecords, path, since, until, check)
        rows = pl.DataFrame(
            {"Id": [each.id for each in found.records], "deleted_at": [each.at for each in found.records]},
            schema={"Id": pl.String(), "deleted_at": INSTANT},
        )
        covered = until.replace(second=0, microsecond=0) if found.until is None else min(found.until, until)
        return Deletions(rows, covered, found.since)

    def are_live(self, object: str, ids: Sequence[str]) -> set[str]:
        """Those of the given records that exist and are not deleted."""
        return self._transport.queries.live(object, ids)

    def read(
        self,
        query: Query,
        into: Intake,
        progress: Callable[[int, int | None], None],
        *,
        is_quiet: bool = False,
    ) -> None:
        """Put every record that a query asks for, soft-deleted ones included, into an intake.

        Up to 5,000 rows come by REST, more by a bulk job, unless the object cannot be read that way.
        """
        self._transport.read(query, into, progress, is_quiet=is_quiet)

    def read_ids(
        self,
        description: ObjectDescription,
        fields: Sequence[str],
        ids: Sequence[str],
        *,
        where: str | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Those of the given records that there are, soft-deleted ones included, every value as text."""
        yield from self._transport.queries.of_ids(description, selected(fields), ids, where)

    def begun(self, query: Query, staging: Path) -> Window | None:
        """The window of a read that was begun in a folder and can be gone on with; None if there is none."""
        return self._transport.begun(query, staging)

    def _of_span(
        self, document: type[M], path: str, since: datetime, until: datetime, check: Callable[[M], None]
    ) -> M:
        """What is told of a span of time, if the check raises nothing."""

        def accept(response: Any) -> M:
            found = validated(document, read_json(response))
            check(found)
            return found

        return self._wire.call("GET", path, accept, params={"start": _iso(since), "end": _iso(until)})


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds")
