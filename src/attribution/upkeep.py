"""What a sync does to the folder of a store: whose it is, who writes, what was left over, and the ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from attribution.errors import AttributionError, StoppedEarly, StoreError
from attribution.mapping import Mapping as OrgMapping
from attribution.mirror.erased import Erased
from attribution.mirror.folder import Folder
from attribution.mirror.logs import Logs
from attribution.mirror.runs import append_run, unread_run
from attribution.sync.evidence import has_evidence, strangers
from attribution.sync.personal import personal_fields
from attribution.sync.planning import Plan, plan
from attribution.sync.report import Progress, SyncReport
from attribution.sync.run import run
from attribution.sync.schema import Schema
from attribution.sync.source import Source

__all__ = ["Log", "Upkeep"]

_SCHEMA: Final = "schema.json"
_NO_EVIDENCE: Final = (
    "nothing that was read tells of a partner: no touchpoint can be derived; "
    "`attribution doctor --suggest` looks for fields and objects that do, and prints a mapping of them"
)
Log = Callable[[Mapping[str, Any]], object]
"""Is given a document that is meant for one line of a log."""


class Upkeep:
    """The folder of a store while a CRM is read into it.

    Parameters
    ----------
    folder
        Of the store.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.mirror = folder.path / "mirror"
        self.staging = folder.path / "staging"

    def check_free(self) -> None:
        """Refuse to begin while somebody else writes, before anything is asked of the CRM."""
        if self._folder.organization_id is not None:
            with self._folder.lock():
                pass

    def plan(
        self, source: Source, mapping: OrgMapping, objects: Sequence[str] | None, calls_before: int
    ) -> Plan:
        """What is to be read, if these are records of the organization whose store this is."""
        self._folder.check_organization(source.organization_id)
        schema = Schema(self._folder.path / _SCHEMA, source.viewer)
        return plan(source, mapping, only=objects, calls_before=calls_before, schema=schema)

    def run(
        self,
        source: Source,
        planned: Plan,
        mapping: OrgMapping,
        progress: Callable[[Progress], object] | None,
        log: Log | None,
        *,
        parallel: int,
        is_partial: bool,
    ) -> SyncReport:
        """Read what is planned, while nobody else writes, and tell it to the ledger.

        Parameters
        ----------
        is_partial
            Whether more is mapped than planned.
        """
        folder = self._folder
        with folder.lock():
            unavailable = {*folder.unavailable, *planned.unavailable} - set(planned.readable)
            folder.claim(source.organization_id, unavailable)
            planned.schema.save()
            if not is_partial:
                self._keep_only(planned.readable)
            self._keep_erased(planned, mapping)
            kept = partial(append_run, folder.path)
            try:
                report = run(source, planned, self.mirror, self.staging, progress, log, kept, parallel)
            finally:
                # a field that was hidden meanwhile is known to be now
                planned.schema.save()
                with suppress(OSError):
                    # not empty where an object was not read to its end: the next sync goes on with it
                    self.staging.rmdir()
        logs = Logs(self.mirror)
        warnings = list(strangers(logs, mapping))
        if not (is_partial or report.failed or has_evidence(logs, mapping)):
            warnings.append(_NO_EVIDENCE)
        return replace(report, warnings=(*report.warnings, *warnings))

    @contextmanager
    def told(self, source: Source, log: Log | None) -> Iterator[int]:
        """Tell the ledger of a sync that does not come to read an object; yields the calls before it."""
        calls_before, began_at = source.api_calls, datetime.now(UTC)
        try:
            yield calls_before
        except AttributionError as error:
            if not (isinstance(error, StoppedEarly) and error.report is not None):
                run = unread_run(error, began_at, datetime.now(UTC), source.api_calls - calls_before)
                # while another sync writes, or nothing can be written, the error itself says all there is
                with suppress(OSError, StoreError):
                    if self._folder.organization_id is not None:
                        with self._folder.lock():
                            append_run(self._folder.path, run)
                if log is not None:
                    log({"event": "run", **run})
            raise

    def _keep_only(self, objects: Iterable[str]) -> None:
        """Remove what a sync that was killed has left of objects that are no longer read."""
        for left in self.staging.iterdir() if self.staging.is_dir() else ():
            if left.name not in objects:
                shutil.rmtree(left, ignore_errors=True)

    def _keep_erased(self, planned: Plan, mapping: OrgMapping) -> None:
        """See to it that a personal field which is new to the mirror is empty in erased records, too."""
        erased = wider = Erased.read(self.mirror)

        def target(name: str, lookup: str) -> str | None:
            each = planned.readable.get(name)
            return each.description.lookups.get(lookup) if each is not None else None

        for name, each in planned.readable.items():
            if name in erased.objects:
                read = {field: each.description.fields[field] for field in each.fields}
                fields = personal_fields(replace(each.description, fields=read), mapping, target)
                wider = wider.emptying(name, (), fields)
        if wider != erased:
            wider.save(self.mirror)
