"""A Salesforce org on loopback over HTTPS, for tests of whatever talks to Salesforce.

It speaks the REST API (describe, SOQL, getUpdated, getDeleted, limits), Bulk API 2.0 queries and OAuth as
simple-salesforce and others use them, keeps its rows in SQLite, and has a clock that only the test moves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any
from zoneinfo import ZoneInfo

from attribution.errors import UsageError
from attribution.readings import history_of
from attribution.testing.bulk import BulkJobs
from attribution.testing.edits import Edits, Transaction
from attribution.testing.faults import Fault, Faults
from attribution.testing.login import Login
from attribution.testing.messages import ApiError, Request, Response, as_json
from attribution.testing.objects import Field, SObject, fields_of, history_object, standard_objects
from attribution.testing.records import Records, Unit, decode, full_id
from attribution.testing.rest import Rest
from attribution.testing.state import STANDARD_STAGES, State, aware
from attribution.testing.wire import Wire, write_certificate

__all__ = ["Call", "Org"]

_SYSTEM = """Id* id, IsDeleted* boolean, CreatedDate* datetime, CreatedById* > User,
    LastModifiedDate* datetime, LastModifiedById* > User, SystemModstamp* datetime,
    Name string 80, OwnerId* > User"""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that the org has answered; ``status`` is 0 if the connection was dropped instead."""

    method: str
    path: str
    soql: str | None
    status: int


class Org(Edits):
    """A Salesforce org on loopback, used as a context manager.

    Parameters
    ----------
    now
        Where the clock starts. Stamps, dates of responses and relative dates in SOQL come from it.
    organization
        Fields of the Organization record: ``Id``, ``Name``, ``FiscalYearStartMonth``, ``TimeZoneSidKey`` ...
    partner_licences
        Without them ``PartnerAccountId``, ``IsPartner``, channel programs and partner funds do not exist.
    multi_currency
        Whether there are currencies with dated rates.
    stages
        Rows of OpportunityStage; by default those that new orgs have.
    opportunity_history
        Whether a change of stage, amount, close date or probability writes an OpportunityHistory row.
    quota
        API calls of a day, after which the org answers 403 REQUEST_LIMIT_EXCEEDED.

    Examples
    --------
    >>> from datetime import datetime, timedelta, UTC
    >>> org = Org(now=datetime(2026, 6, 30, 12, tzinfo=UTC))
    >>> (account,) = org.insert("Account", [{"Name": "Globex"}])
    >>> account[:3], len(account)
    ('001', 18)
    >>> org.advance(timedelta(hours=1))
    >>> org.update("Account", account, Name="Globex Corporation")
    >>> org.row("Account", account)["SystemModstamp"].isoformat()
    '2026-06-30T13:00:00+00:00'
    >>> with org:
    ...     org.url.startswith("https://localhost:")
    True
    >>> org.close()
    """

    def __init__(
        self,
        *,
        now: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        organization: Mapping[str, Any] | None = None,
        partner_licences: bool = True,
        multi_currency: bool = False,
        stages: Iterable[Mapping[str, Any]] = STANDARD_STAGES,
        opportunity_history: bool = True,
        quota: int = 100_000,
    ) -> None:
        settings: dict[str, Any] = {
            "Id": "00DAb0000000001",
            "Name": "Test org",
            "OrganizationType": "Enterprise Edition",
            "FiscalYearStartMonth": 1,
            "UsesStartDateAsFiscalYearName": False,
            "TimeZoneSidKey": "America/Los_Angeles",
            "DefaultLocaleSidKey": "en_US",
            "LanguageLocaleKey": "en_US",
            "IsSandbox": False,
        } | dict(organization or {})
        self.state = self._state = State(
            now=aware(now),
            records=Records(),
            user_id=full_id("005Ab0000000zzz") or "",
            writes_history=opportunity_history,
        )
        self.id: str = ""
        self.quota, self.used = quota, 0
        self.app_usage: tuple[int, int, str] | None = None
        self.earliest_deletion: datetime | None = None
        self.faults = Faults()
        self.requests: list[Call] = []
        self.bulk = BulkJobs(self)
        self._rest = Rest(self)
        self._guard = threading.Lock()
        self._local = threading.local()
        self._wire: Wire | None = None
        self._folder: TemporaryDirectory[str] | None = None
        objects = standard_objects(partner_licences=partner_licences, multi_currency=multi_currency)
        with self.state.records.writing():
            for obj in objects.values():
                self.state.records.create(obj)
                self.state.set_object(obj)
        user: dict[str, Any] = {
            "Id": self.state.user_id,
            "Username": "integration@example.com",
            "Email": "integration@example.com",
        }
        user |= {"LastName": "Integration", "IsActive": True, "UserType": "Standard"}
        self._as_new: set[str] = set()
        self.load({"Organization": [settings], "User": [user], "OpportunityStage": stages})
        self.load({"UserPermissionAccess": [{"PermissionsViewAllData": True}]})
        self._as_new = {"Organization", "OpportunityStage"}
        self.login = Login(self)

    # -- life

    def start(self) -> None:
        """Start to listen, with a fresh certificate."""
        if self._wire is not None:
            raise UsageError("the org is running already")
        self._folder = TemporaryDirectory(prefix="org-")
        bundle, chain = write_certificate(Path(self._folder.name))
        self.ca_bundle = str(bundle)
        self._wire = Wire(chain, self._answer)

    def stop(self) -> None:
        """Stop listening; the rows stay, and it may be started again."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        self.bulk.close()

    def close(self) -> None:
        """Stop and forget everything; leaving a process does so, too."""
        self.stop()
        self.state.records.close()

    def __enter__(self) -> Org:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- where it is

    @property
    def url(self) -> str:
        """The address, as in ``instance_url``."""
        if self._wire is None:
            raise UsageError("the org is not running", hint="use it in a with statement")
        return f"https://localhost:{self._wire.port}"

    @property
    def token(self) -> str:
        """An access token that is accepted; another one after ``expire_sessions``."""
        return self.login.token

    @property
    def client_id(self) -> str:
        """The consumer key for the client credentials flow."""
        return self.login.client_id

    @property
    def client_secret(self) -> str:
        """The consumer secret for the client credentials flow."""
        return self.login.client_secret

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which a job finds the org."""
        return {
            "SALESFORCE_INSTANCE_URL": self.url,
            "SALESFORCE_ACCESS_TOKEN": self.token,
            "REQUESTS_CA_BUNDLE": self.ca_bundle,
        }

    def trust(self, public_key: str) -> None:
        """Accept JWT bearer logins that are signed with the private half of this key (PEM)."""
        self.login.trust(public_key)

    def expire_sessions(self) -> None:
        """Make every access token given out so far invalid."""
        self.login.expire()

    def expire_cursors(self) -> None:
        """Make every open nextRecordsUrl answer INVALID_QUERY_LOCATOR."""
        self._rest.queries.expire()

    # -- time

    @property
    def now(self) -> datetime:
        """The clock; it moves only when set."""
        return self.state.now

    @now.setter
    def now(self, instant: datetime) -> None:
        self.state.now = aware(instant)

    def advance(self, duration: timedelta) -> None:
        """Move the clock."""
        self.state.now += duration

    # -- rows

    @contextmanager
    def _unit(self) -> Iterator[Unit]:
        current: Transaction | None = getattr(self._local, "transaction", None)
        if current is not None:
            with current._unit() as unit:
                yield unit
            return
        with self.state.records.lock:
            unit = Unit(self.state.records, self.state.now)
            yield unit
            unit.flush()
            if unit.touches("OpportunityStage"):
                self.state.forget_stages()

    def begin(self) -> Transaction:
        """Open a transaction whose own ``insert``, ``update`` ... become visible at its ``commit``.

        Edits made on the org itself meanwhile are visible at once; several transactions may be open.
        """
        return Transaction(self.state)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Make the edits of this thread in the block visible at its end, stamped when they are written."""
        opened = self.begin()
        self._local.transaction = opened
        try:
            yield opened
        except BaseException:
            opened.roll_back()
            raise
        else:
            opened.commit()
        finally:
            self._local.transaction = None

    def load(self, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, list[str]]:
        """Load many records at once, fast, and return their ids by object; see ``insert``.

        The Organization record and the stages that a new org comes with give way to the first ones loaded.
        """
        current: Transaction | None = getattr(self._local, "transaction", None)
        if current is not None:
            return current.load(tables)
        loaded: dict[str, list[str]] = {}
        for name, rows in tables.items():
            if name in self._as_new:
                self._as_new.discard(name)
                with self.state.records.writing() as connection:
                    connection.execute(f'DELETE FROM "{name}"')
            loaded |= super().load({name: rows})
            if name == "Organization":
                self._follow_organization()
        return loaded

    def _follow_organization(self) -> None:
        row = self.rows("Organization")[0]
        self.id = row["Id"]
        self.state.zone = ZoneInfo(row["TimeZoneSidKey"] or "UTC")
        self.state.fiscal_start = row["FiscalYearStartMonth"] or 1
        self.state.fiscal_by_start = row["UsesStartDateAsFiscalYearName"]

    def rows(self, object: str) -> list[dict[str, Any]]:
        """Return all visible rows of an object, deleted ones included, in the order of their writing.

        Values are aware datetimes, dates, Decimal, int, bool, str and None.
        """
        return self.state.records.rows(self.state.object(object))

    def row(self, object: str, id: str) -> dict[str, Any]:
        """Return one visible row."""
        obj = self.state.object(object)
        found = self.state.records.get(obj, full_id(id) or id)
        if found is None:
            raise UsageError(f"there is no {object} {id}")
        return {field.name: decode(field, found[field.name]) for field in obj.fields}

    # -- schema

    def add_object(
        self,
        name: str,
        key_prefix: str,
        fields: Iterable[Field] | str = (),
        *,
        label: str | None = None,
        replicateable: bool = True,
    ) -> None:
        """Add an object with the usual system fields, Name, OwnerId, and those given.

        ``fields`` are ``Field`` values or the short notation of ``attribution.testing.objects``.
        """
        given = fields_of(fields) if isinstance(fields, str) else tuple(fields)
        names = {item.name.lower() for item in given}
        system = tuple(item for item in fields_of(_SYSTEM) if item.name.lower() not in names)
        obj = SObject(name, key_prefix, system + given, replicateable=replicateable, label=label)
        if obj.name in self.state.schema:
            raise UsageError(f"there is an object {name} already")
        self.state.records.create(obj)
        self.state.set_object(obj)

    def add_field(self, object: str, field: Field | str) -> None:
        """Add a field; it is null in every row."""
        for item in fields_of(field) if isinstance(field, str) else (field,):
            obj = self.state.object(object)
            self.state.records.add_column(obj, item)
            self.state.set_object(replace(obj, fields=(*obj.fields, item)))

    def remove_object(self, name: str) -> None:
        """Take an object away, as when a feature is switched off or the user may not see it."""
        self.state.remove_object(self.state.object(name))

    def hide_field(self, object: str, field: str) -> None:
        """Take the user's right to read a field: it is absent from describe and unknown to SOQL."""
        self.state.hide(self.state.object(object), field)

    def show_field(self, object: str, field: str) -> None:
        """Undo ``hide_field``."""
        self.state.show(self.state.object(object), field)

    def hide_record(self, object: str, id: str) -> None:
        """Take the user's access to a record: nothing shows it, and asked for alone it is not found.

        From then on the user has no View All Data, with which every record is seen.
        """
        obj = self.state.object(object)
        if self.state.records.get(obj, full_id(id) or id) is None:
            raise UsageError(f"there is no {object} {id}")
        self.see_all_data(granted=False)
        self._share(obj, id, shared=False)

    def show_record(self, object: str, id: str) -> None:
        """Undo ``hide_record``; the record's stamp does not move."""
        self._share(self.state.object(object), id, shared=True)

    def _share(self, obj: SObject, id: str, *, shared: bool) -> None:
        if self.state.records.share(obj, full_id(id) or id, shared=shared):
            self.state.unshared.add(obj.name)
        else:
            self.state.unshared.discard(obj.name)

    def see_all_data(self, *, granted: bool) -> None:
        """Give the user the permission View All Data, which new orgs give, or take it."""
        (access,) = self.rows("UserPermissionAccess")
        self.update("UserPermissionAccess", access["Id"], PermissionsViewAllData=granted)

    def see_all_records(self, object: str) -> None:
        """Give the user the permission View All Records on one object."""
        parent = full_id("0PSAb0000000001") or ""
        given = {"SobjectType": self.state.object(object).name, "ParentId": parent}
        self.insert(
            "ObjectPermissions", [given | {"PermissionsRead": True, "PermissionsViewAllRecords": True}]
        )
        self.insert(
            "PermissionSetAssignment", [{"AssigneeId": self.state.user_id, "PermissionSetId": parent}]
        )

    def track_history(self, object: str, field: str) -> None:
        """Write a row of the object's field history whenever that field changes.

        The object that holds the history is there from now on, if it was not before.
        """
        obj = self.state.object(object)
        name = history_of(obj.name)
        if name not in self.state.schema:
            parent = "ParentId" if obj.name.endswith("__c") else f"{obj.name}Id"
            history = history_object(name, parent, obj.name)
            self.state.records.create(history)
            self.state.set_object(history)
        self.state.tracked.setdefault(obj.name, set()).add(self.state.field(obj, field).name)

    # -- requests

    def _answer(self, request: Request) -> tuple[Response, Fault | None]:
        fault = self.faults.next(request.method, request.path)
        if fault is not None and fault.status is not None:
            response = Response(fault.status, fault.body, fault.headers)
        else:
            response = self._dispatch(request)
        headers = {
            "Date": format_datetime(self.now.replace(microsecond=0), usegmt=True),
            "Server": "sfdcedge",
        }
        if request.path.startswith("/services/data/"):
            headers["Sforce-Limit-Info"] = self._usage()
        status = 0 if fault is not None and fault.drop else response.status
        with self._guard:
            self.requests.append(Call(request.method, request.path, request.query.get("q"), status))
        return Response(response.status, response.body, headers | dict(response.headers)), fault

    def _dispatch(self, request: Request) -> Response:
        try:
            if request.path.rstrip("/") == "/services/oauth2/token":
                return self.login.answer(request)
            if request.path.rstrip("/") == "/services/data" and request.method == "GET":
                return self._rest.versions()
            if not self.login.accepts(request.headers.get("authorization", "")):
                raise ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid")
            with self._guard:
                if self.used >= self.quota:
                    raise ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
                self.used += 1
            return self._rest.answer(request)
        except ApiError as error:
            return error.response
        except Exception as error:
            # a defect of this org must look like Salesforce's own, and say what it is
            message = f"An unexpected error occurred: {type(error).__name__}: {error}"
            return as_json([{"message": message, "errorCode": "UNKNOWN_EXCEPTION"}], 500)

    def _usage(self) -> str:
        usage = f"api-usage={self.used}/{self.quota}"
        if self.app_usage is not None:
            used, most, name = self.app_usage
            usage += f"; per-app-api-usage={used}/{most}(appName={name})"
        return usage
