"""What is asked of an organization besides its records: who sees what, and what became of a record."""

from __future__ import annotations

import functools
from typing import Any, Final

from attribution.errors import CrmError, TransientCrmError
from attribution.sync.source import Visibility
from attribution.sync.wire import Garbled, Kind, Wire, failure_of, kind_of, read_json

__all__ = ["Inquiries"]

_DELETED: Final = "ENTITY_IS_DELETED"
_HIDDEN: Final = frozenset({Kind.MISSING, Kind.REFUSED, Kind.FATAL})
"""What an answer means that will be the same the next time."""


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
