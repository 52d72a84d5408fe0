"""What is asked of an organization besides its records: who sees what, and what became of a record."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from attribution.errors import CrmError, TransientCrmError
from attribution.sync.failures import Garbled, Kind, failure_of, kind_of, read_json
from attribution.sync.source import Visibility, all_of
from attribution.sync.watermark import literal
from attribution.sync.wire import Wire

__all__ = ["Edition", "Inquiries", "Won"]

_CENT: Final = Decimal("0.01")
"""Salesforce adds amounts up as binary fractions; what lies below a cent is noise."""
_DELETED: Final = "ENTITY_IS_DELETED"
_HIDDEN: Final = frozenset({Kind.MISSING, Kind.REFUSED, Kind.FATAL})
"""What an answer means that will be the same the next time."""


@dataclass(frozen=True, slots=True)
class Edition:
    """What kind of organization it is; None where the connected user may not know."""

    is_sandbox: bool | None
    kind: str | None
    """Such as ``Enterprise Edition``."""
    instance: str | None
    """Where Salesforce runs it, such as ``EU42``."""
    trial_ends: str | None

    def __str__(self) -> str:
        where = {True: "a sandbox", False: "production", None: "sandbox or production: cannot tell"}
        told = [where[self.is_sandbox], *filter(None, (self.kind, self.instance))]
        return ", ".join([*told, f"a trial until {self.trial_ends[:10]}"] if self.trial_ends else told)

    def to_dict(self) -> dict[str, Any]:
        """The edition in a JSON document."""
        return {
            "is_sandbox": self.is_sandbox,
            "edition": self.kind,
            "instance": self.instance,
            "trial_ends": self.trial_ends,
        }


@dataclass(frozen=True, slots=True)
class Won:
    """Won opportunities of one calendar quarter, as the connected user sees them."""

    quarter: str
    n_deals: int
    amount: Decimal | None
    """In the currency that Salesforce adds up in; None if none of them has an amount."""


class Inquiries:
    """The questions of a :class:`~attribution.Salesforce` that are not about reading records."""

    _wire: Wire
    _base: str

    @functools.cached_property
    def visibility(self) -> Visibility:
        """Of which objects the connected user sees every record."""
        found = self._told("SELECT PermissionsViewAllData FROM UserPermissionAccess")
        all_data = None if not found else found[0].get("PermissionsViewAllData") is True
        if all_data:
            return Visibility(all_data, None)
        granted = None
        if self.user_id is not None:
            granted = self._told(
                "SELECT SobjectType FROM ObjectPermissions WHERE PermissionsViewAllRecords = true AND "
                "ParentId IN (SELECT PermissionSetId FROM PermissionSetAssignment "
                f"WHERE AssigneeId = '{self.user_id}')"
            )
        return Visibility(
            all_data,
            None if granted is None else frozenset(str(each.get("SobjectType")) for each in granted),
        )

    @functools.cached_property
    def user_id(self) -> str | None:
        """Id of the connected user; None where Salesforce does not tell."""
        try:
            resources = self._wire.get_json(f"{self._base}/")
        except TransientCrmError:
            raise
        except CrmError:
            return None
        address = resources.get("identity") if isinstance(resources, dict) else None
        user = str(address).rpartition("/")[2] if address else ""
        return user if user.startswith("005") and user.isalnum() else None

    def is_deleted(self, object: str, id: str) -> bool:
        """Whether Salesforce says of one record that it was deleted, rather than that it cannot be found."""
        try:
            self._wire.get_json(f"{self._base}/sobjects/{object}/{id}", {"fields": "Id"})
        except CrmError as error:
            if kind_of(error) not in _HIDDEN:
                raise
            failure = failure_of(error)
            return failure is not None and failure.code == _DELETED
        return False

    def count_by_month(self, object: str, where: str | None, until: datetime) -> dict[str | None, int]:
        """Number of records per month of creation (UTC), such as ``2026-06``, created before an instant.

        Salesforce's date functions work in UTC unless told otherwise.
        """
        year, month = "CALENDAR_YEAR(CreatedDate)", "CALENDAR_MONTH(CreatedDate)"
        before = f"CreatedDate < {literal(until)}"
        soql = (
            f"SELECT {year} y, {month} m, COUNT(Id) n FROM {object} "
            f"WHERE {all_of(where, before)} GROUP BY {year}, {month}"
        )
        try:
            records = self._records(soql, "queryAll")
            return {f"{int(each['y']):04}-{int(each['m']):02}": int(each["n"]) for each in records}
        except (KeyError, TypeError, ValueError):
            raise TransientCrmError("Salesforce: the answer to a count by month makes no sense") from None

    def edition(self) -> Edition:
        """What kind of organization it is, as far as the connected user may know."""
        for fields in ("IsSandbox, OrganizationType, InstanceName, TrialExpirationDate", "IsSandbox"):
            found = self._told(f"SELECT {fields} FROM Organization")
            if found:
                told = found[0]
                sandbox = told.get("IsSandbox")
                return Edition(
                    sandbox if isinstance(sandbox, bool) else None,
                    *(told.get(name) for name in ("OrganizationType", "InstanceName", "TrialExpirationDate")),
                )
        return Edition(None, None, None, None)

    def won_by_quarter(self, amount: str) -> tuple[Won, ...] | None:
        """Won opportunities per calendar quarter of their close date, the latest first.

        None if Salesforce cannot add them up for the connected user.
        """
        year, quarter = "CALENDAR_YEAR(CloseDate)", "CALENDAR_QUARTER(CloseDate)"
        found = self._told(
            f"SELECT {year} y, {quarter} q, COUNT(Id) n, SUM({amount}) amount FROM Opportunity "
            f"WHERE IsWon = true GROUP BY {year}, {quarter}"
        )
        if found is None:
            return None
        try:
            won = [
                Won(
                    f"{int(each['y']):04}Q{int(each['q'])}",
                    int(each["n"]),
                    None if each["amount"] is None else Decimal(each["amount"]).quantize(_CENT),
                )
                for each in found
            ]
        except (KeyError, TypeError, ValueError, ArithmeticError):
            raise TransientCrmError("Salesforce: the sums by quarter make no sense") from None
        return tuple(sorted(won, key=lambda each: each.quarter, reverse=True))

    def is_too_slow(self, error: CrmError) -> bool:
        """Whether Salesforce gave a query up because it took too long."""
        return kind_of(error) is Kind.TIMEOUT

    def _told(self, soql: str) -> list[dict[str, Any]] | None:
        """Records of a short query; None if they are not for the connected user."""
        try:
            return self._records(soql, "query")
        except CrmError as error:
            if kind_of(error) not in _HIDDEN:
                raise
            return None

    def _records(self, soql: str, operation: str) -> list[dict[str, Any]]:
        """Every record of a query whose answer is one page."""

        def accept(response: Any) -> list[dict[str, Any]]:
            page = read_json(response)
            records = page.get("records") if isinstance(page, dict) else None
            if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
                raise Garbled("no records")
            return records

        return self._wire.call("GET", f"{self._base}/{operation}", accept, params={"q": soql})
