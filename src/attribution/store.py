"""Store: a folder that holds what was read of one CRM organization, and how to read it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

import polars as pl

from attribution.columns import Claim, Decision, to_micros
from attribution.deals import Deals
from attribution.derive import derive
from attribution.errors import DataError, StoreError, UsageError, known
from attribution.mapping import Mapping
from attribution.mirror.cache import SnapshotCache, table_versions
from attribution.mirror.decisions import append_decision, is_claimant, read_decisions, user_id
from attribution.mirror.erasure import Erasure, erase
from attribution.mirror.folder import SETTINGS, Folder
from attribution.mirror.log import Appended, ObjectLog
from attribution.mirror.logs import Logs
from attribution.mirror.overlaps import append_overlaps, read_overlaps
from attribution.mirror.runs import read_runs
from attribution.policy import Policy
from attribution.readings import DECISIONS, OVERLAPS
from attribution.settings import Settings, read_toml
from attribution.sufficiency import check_mapping, complete_until
from attribution.sync.budget import Budget
from attribution.sync.personal import personal_fields
from attribution.sync.planning import described
from attribution.sync.report import Progress, SyncReport
from attribution.sync.source import Source
from attribution.upkeep import Log, Upkeep

if TYPE_CHECKING:
    from attribution.sync.drift import Verification
    from attribution.sync.estimation import Estimate
    from attribution.sync.salesforce import Salesforce

__all__ = ["Store"]

S = TypeVar("S", bound=Settings)


class Store:
    """A folder with the mirror of one CRM organization; made by the first sync.

    Parameters
    ----------
    path
        The folder. It need not exist; it may hold ``attribution.toml`` with ``[mapping]`` and ``[policy]``.

    Raises
    ------
    StoreError
        If the path holds something that is no store, or a store of a newer version.
    UsageError
        If the path has a character that the Delta library cannot address.

    Examples
    --------
    >>> import tempfile
    >>> from attribution import Store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Store(folder).objects
    ()
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._folder = Folder(self.path)
        self._upkeep = Upkeep(self._folder)
        self._mirror = self._upkeep.mirror

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @property
    def organization_id(self) -> str | None:
        """Id of the organization whose records these are; None before the first sync."""
        return self._folder.organization_id

    @cached_property
    def mapping(self) -> Mapping:
        """How this org stores things: ``[mapping]`` of ``attribution.toml``, else the defaults."""
        return self._settings("mapping", Mapping)

    @cached_property
    def policy(self) -> Policy:
        """How numbers are computed: ``[policy]`` of ``attribution.toml``, else the defaults."""
        return self._settings("policy", Policy)

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the mirrored objects, sorted."""
        return Logs(self._mirror).names

    @property
    def watermarks(self) -> dict[str, datetime]:
        """Per mirrored object: up to which instant it has been read completely."""
        logs = [self.log(name) for name in self.objects]
        return {log.object: log.watermark for log in logs if log.watermark is not None}

    def log(self, object: str) -> ObjectLog:
        """The versions of one object, looked at as they are now.

        Raises
        ------
        UsageError
            If the object is not mirrored here.
        """
        log = ObjectLog(self._mirror, object) if object.isidentifier() else None
        if log is None or not log.exists:
            raise UsageError(
                f"{object} is not in the store at {self.path}", hint=f"mirrored: {known(self.objects)}"
            )
        return log

    def rows(self, object: str, known_at: datetime | None = None) -> pl.DataFrame:
        """Live records of an object, with Salesforce's field names, sorted by Id.

        Parameters
        ----------
        known_at
            Knowledge cut-off, an aware instant: versions read later are invisible. Default: everything.
        """
        with self._reading():
            return self.log(object).current(_aware(known_at)).sort("Id").collect()

    def versions(self, object: str, known_at: datetime | None = None) -> pl.LazyFrame:
        """Every version of every record, with ``_synced_at`` (instant of the read) and ``_deleted``."""
        return self.log(object).versions(_aware(known_at))

    @property
    def zone(self) -> str:
        """Time zone in which this org's days begin and end.

        Raises
        ------
        DataError
            If nothing was synced yet.
        """
        zones = (
            self.rows("Organization")["TimeZoneSidKey"].to_list() if "Organization" in self.objects else []
        )
        self._check_synced(bool(zones))
        return self.mapping.zone(zones[0]).key

    def deals(
        self,
        *,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
        mapping: Mapping | None = None,
        policy: Policy | None = None,
    ) -> Deals:
        """Derive every deal and touchpoint as of an instant.

        Parameters
        ----------
        as_of
            Event cut-off, an aware instant: nothing that happened later is visible. Default: the smallest
            watermark of the objects that the mapping reads, up to which everything is known.
        known_at
            Knowledge cut-off, an aware instant: nothing recorded later is visible. Default: everything.
        mapping, policy
            Instead of this store's.

        Raises
        ------
        UsageError
            If an instant has no time zone.
        DataError
            If some object that the organization shows was never read completely.
        StoreError
            If files of the store are missing or broken.

        Examples
        --------
        >>> import tempfile
        >>> from attribution import Store
        >>> from attribution.testing import fill
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = Store(folder)
        ...     fill(store, 50)
        ...     store.deals()
        <Deals: 50 of 50, as of 2026-11-20T12:00:00Z>
        """
        mapping = mapping or self.mapping
        snapshots = SnapshotCache(self.path / "cache")
        basis = {
            "unavailable": self.unavailable,
            "mapping": mapping.hash,
            "as_of": None if as_of is None else to_micros(as_of, "as_of"),
            "known_at": None if known_at is None else to_micros(known_at, "known_at"),
        }
        with self._reading():
            snapshot = snapshots.load(snapshots.key(tables=table_versions(self._mirror), **basis))
            if snapshot is None:
                logs = Logs(self._mirror, known_at)
                self._check_synced(self.organization_id is not None)
                watermark = to_micros(complete_until(mapping, logs, self.unavailable))
                snapshot = derive(
                    logs,
                    mapping,
                    as_of=watermark if as_of is None else to_micros(as_of),
                    known_at=None if known_at is None else to_micros(known_at),
                    watermark=watermark,
                    decisions=read_decisions(logs.of(DECISIONS), known_at),
                )
                seen = {name: logs.of(name).version for name in logs.names}
                key = snapshots.key(tables=seen, **basis)
                snapshots.save(key, snapshot)
                if table_versions(self._mirror) != seen:
                    # nobody will ask for it, and what was erased meanwhile must not stay here
                    snapshots.drop(key)
        return Deals(snapshot, policy or self.policy)

    def sync(
        self,
        source: Source,
        *,
        mapping: Mapping | None = None,
        objects: Sequence[str] | None = None,
        progress: Callable[[Progress], object] | None = None,
        log: Log | None = None,
        max_api_calls: int | None = None,
        max_quota_percent: float | None = 80.0,
        deadline: float | None = None,
        jitter: float = 0.0,
        parallel: int = 4,
        full: bool = False,
        reconcile: bool = False,
        max_vanished_percent: float = 10.0,
    ) -> SyncReport:
        """Read what changed in the CRM since the last time.

        Every object is committed as a whole, together with how far it was read, so the sync can be
        stopped at any instant and run again. An object that fails leaves the others alone and is
        reported; it goes on from where it was the next time.

        Parameters
        ----------
        source
            The CRM, such as :class:`~attribution.Salesforce`.
        mapping
            Which objects and fields are needed; default: this store's.
        objects
            Only these; default: all that the mapping reads.
        progress
            Called with a :class:`~attribution.sync.report.Progress` after every page.
        log
            Called with a document after every object and at the end; it holds no secret and no value of a
            record, and is meant for one line of a log.
        max_api_calls
            HTTP requests that this sync may send, retries and logins included; default: as many as it takes.
        max_quota_percent
            Part of the organization's API calls of 24 hours, whoever made them, beyond which nothing more
            is sent; None: all of them may be used up.
        deadline
            Seconds after which nothing more is sent or waited for; default: none.
        jitter
            Seconds of which a random part is waited first, so that many jobs do not begin at one instant.
        parallel
            How many objects are read at once. With ``max_api_calls`` or ``reconcile`` it is one: calls are
            not spread over objects that none of them then suffices for, and owners come before what they own.
        full
            Whether to read every record again, and not only what changed: what is not as it is stored becomes
            a version. It costs about what a first sync costs, and finds what changes without a trace.
        reconcile
            Whether to compare every id of every object as well, which finds what no window and no log of
            deletions shows. What vanished without a trace becomes a tombstone only where something says
            that it was deleted; else it is kept, as *unseen*.
        max_vanished_percent
            Part of the live records of an object above which nothing that vanished is touched, as that
            looks like lost access; five records may always vanish.

        Raises
        ------
        UsageError
            If a needed object or field is hidden from the connected user, or the mapping names what does
            not exist or is of another kind. Nothing is written.
        StoreError
            If the store belongs to another organization, a field has another type than before, or
            another sync is writing.
        CrmError
            If the CRM cannot be reached or refuses before the first object is read.
        StoppedEarly
            If one of these limits is reached, or the organization's daily quota is used up. What was
            complete is committed, and the next sync begins with what was not. ``error.report`` is the
            :class:`~attribution.sync.report.SyncReport`, or None if no object had been begun.
        """
        budget = Budget(max_api_calls, max_quota_percent, deadline, jitter)
        if parallel < 1:
            raise UsageError(f"parallel is {parallel}", hint="read at least one object at a time")
        if reconcile or max_api_calls is not None:
            parallel = 1
        if not 0 <= max_vanished_percent <= 100:
            raise UsageError(
                f"max_vanished_percent is {max_vanished_percent:g}", hint="it lies between 0 and 100"
            )
        mapping, upkeep = mapping or self.mapping, self._upkeep
        with upkeep.told(source, log) as calls_before:
            upkeep.check_free()
            with source.limited(budget):
                planned = replace(
                    upkeep.plan(source, mapping, objects, calls_before),
                    is_full=full,
                    reconciles=reconcile,
                    max_vanished_percent=max_vanished_percent,
                )
                is_partial = objects is not None
                return upkeep.run(
                    source, planned, mapping, progress, log, parallel=parallel, is_partial=is_partial
                )

    def plan(
        self,
        source: Salesforce,
        *,
        mapping: Mapping | None = None,
        objects: Sequence[str] | None = None,
        full: bool = False,
        reconcile: bool = False,
        max_api_calls: int | None = None,
        max_quota_percent: float | None = 80.0,
    ) -> Estimate:
        """Estimate what :meth:`sync` would cost in API calls, per object; writes nothing.

        It costs the look at the schema that every sync begins with, and one count per object.

        Parameters
        ----------
        source, mapping, objects, full, reconcile, max_api_calls, max_quota_percent
            As for :meth:`sync`; the estimate itself may take more than ``max_api_calls``.

        Raises
        ------
        UsageError, StoreError, CrmError, StoppedEarly
            As for :meth:`sync`.
        """
        from attribution.sync.estimation import estimate

        calls_before = source.api_calls
        with source.limited(Budget(max_quota_percent=max_quota_percent)):
            planned = self._upkeep.plan(source, mapping or self.mapping, objects, calls_before)
            return estimate(
                source,
                replace(planned, is_full=full, reconciles=reconcile),
                self.path / "mirror",
                max_quota_percent=max_quota_percent,
                max_api_calls=max_api_calls,
                calls_before=calls_before,
            )

    def verify(
        self,
        source: Salesforce,
        *,
        mapping: Mapping | None = None,
        objects: Sequence[str] | None = None,
        sample: int = 200,
        seed: int = 0,
        max_quota_percent: float | None = 80.0,
    ) -> Verification:
        """Compare the mirror to the CRM, up to the watermarks; writes nothing.

        Live records are counted per object and month of creation (UTC); where counts differ, ids are
        compared. A sample of records is compared field by field. What changed after the watermark, could
        not be read, or is *unseen*, is no drift.

        Parameters
        ----------
        source
            The CRM.
        mapping
            Default: this store's.
        objects
            Only these; default: all that the mapping reads.
        sample
            Number of records of each object to compare field by field.
        seed
            Chooses them: the same seed, the same records.
        max_quota_percent
            As for :meth:`sync`.

        Raises
        ------
        DataError
            If nothing was synced yet.
        UsageError, StoreError, CrmError, StoppedEarly
            As for :meth:`sync`.
        """
        from attribution.sync.verification import verify

        if sample < 0:
            raise UsageError(f"a sample of {sample} records", hint="0 compares counts alone")
        self._check_synced(bool(self.objects))
        calls_before = source.api_calls
        with source.limited(Budget(max_quota_percent=max_quota_percent)), self._reading():
            planned = self._upkeep.plan(source, mapping or self.mapping, objects, calls_before)
            return verify(source, planned, self.path / "mirror", sample=sample, seed=seed)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Every sync that came to an end, oldest first: what ``attribution runs --json`` prints."""
        return read_runs(self.path)

    def check_mapping(self, mapping: Mapping) -> None:
        """Refuse a mapping that does not suit what is mirrored; what is mirrored needs no CRM.

        Raises
        ------
        UsageError
            Naming what the mirror lacks, or holds of another kind than the mapping means.
        """
        check_mapping(mapping, Logs(self._mirror))

    def import_overlaps(
        self, path: str | Path, *, replace: bool = False, recorded_at: datetime | None = None
    ) -> Appended:
        """Import account overlaps from a CSV file: which partner knows which account, since when.

        Every row is checked before any is stored. Importing a file twice adds nothing.

        Parameters
        ----------
        path
            Columns ``partner`` and ``account`` (id or exact name of a mirrored account), ``occurred_on`` (a
            date) or ``found_at`` (a date, or an instant with its offset), and optionally ``source``.
        replace
            Whether overlaps of the same sources that the file no longer has count as deleted.
        recorded_at
            When they became known, an aware instant; default: now.

        Raises
        ------
        UsageError
            If there is no such file.
        DataError
            If a row is wrong, with its line and column; or if no account was synced yet.
        """
        recorded_at = _aware(recorded_at, "recorded_at") or datetime.now(UTC)
        self._check_synced("Account" in self.objects)
        accounts = self.log("Account").newest().select("Id", "Name", "_deleted").collect()
        rows = read_overlaps(Path(path), accounts, ZoneInfo(self.zone))
        with self._folder.lock():
            log = ObjectLog(self._mirror, OVERLAPS)
            return append_overlaps(log, rows, recorded_at=recorded_at, replace=replace)

    def erase(self, record_id: str, *, all: bool = False, mapping: Mapping | None = None) -> Erasure:
        """Erase what a record says of a person, in every version of it, and every trace of that.

        Names and other free text of the record are emptied; of a contact, a lead or a user, everything that
        the mapping adds to what is read by default. They stay empty in every later sync. Numbers may change
        as far as they rest on these fields. Killed at whatever instant, it is finished by erasing again.

        Parameters
        ----------
        record_id
            Of any mirrored object; 15 or 18 characters.
        all
            Remove the record and its field history altogether. It is never read again; of its id a salted
            hash is kept. Other records that refer to it go on doing so.
        mapping
            Which fields mean what; default: this store's.

        Raises
        ------
        UsageError
            If there is no such record.
        StoreError
            If a sync is writing, or files cannot be written or deleted.
        """
        mapping = mapping or self.mapping
        self._check_synced(self.organization_id is not None)

        def personal(logs: Logs, name: str) -> tuple[str, ...]:
            return personal_fields(described(logs.of(name)), mapping, logs.target)

        with self._folder.lock():
            erasure = erase(self._mirror, record_id, personal, remove=all)
            if self._upkeep.staging.exists():
                shutil.rmtree(self._upkeep.staging)
            SnapshotCache(self.path / "cache").clear()
        return erasure

    def decide(
        self, claim: Claim, *, approve: bool, by: str, reason: str, at: datetime | None = None
    ) -> Decision:
        """Approve or reject a claim, for good and with a reason.

        What a mapped field of the CRM says of the evidence comes before a decision, and a decision before
        automatic approval; of several the newest known holds. Of a sourced claim a rejection takes the
        evidence out, and the next in order sources the deal; approving it changes nothing.

        Parameters
        ----------
        claim
            Whose claim on which opportunity; ids of 15 or 18 characters.
        approve
            False rejects it.
        by
            Who decides: the id of a user, or a name where the user is none of the CRM's.
        reason
            Why, in words that will be read later.
        at
            From when on it is known (``known_at``), an aware instant; default: now.

        Raises
        ------
        UsageError
            If the opportunity is unknown, the partner has no touchpoint on it, ``by`` or ``reason`` is
            empty, or who approves is the claimant: the partner, one of its users, or who recorded the
            evidence without owning the opportunity. Rejecting, a claimant withdraws.
        DataError
            If nothing was synced yet.

        Examples
        --------
        ::

            claim = at.explain(deals, "006Ab00000QxYzZ").rivals[0].claim
            store.decide(claim, approve=False, by="005Ab00000PqRsT", reason="they asked us for the lead")
        """
        decided_at = _aware(at, "at") or datetime.now(UTC)
        by, reason = by.strip(), reason.strip()
        if not by or not reason:
            empty = "reason" if by else "by"
            raise UsageError(f"{empty} is empty", hint="say who decides, and why: it is kept for good")
        deal = self.deals()[claim.opportunity_id]
        mine = [each for each in deal.touchpoints if each.partner.id[:15] == claim.partner_id[:15]]
        if not mine:
            partners = known({each.partner.id for each in deal.touchpoints})
            raise UsageError(
                f"{claim.partner_id} has no touchpoint on opportunity {deal.id}, so there is no claim",
                hint=f"partners with one: {partners}",
            )
        partner = mine[0].partner
        claim = Claim(deal.id, partner.id, claim.kind)
        with self._reading():
            logs = Logs(self._mirror)
            user = user_id(logs, by)
            itself = by.casefold() == partner.name.casefold() or by[:15] == partner.id[:15]
            if approve and (itself or (user and is_claimant(logs, claim, (each.id for each in mine), user))):
                raise UsageError(
                    f"{by} is the claimant, who cannot approve {claim}",
                    hint="it takes somebody who is not of the partner and did not record the evidence",
                )
        decision = Decision(claim, approve, user or by, reason, decided_at.astimezone(UTC))
        with self._folder.lock():
            append_decision(ObjectLog(self._mirror, DECISIONS), decision)
        return decision

    def claim(self, organization_id: str, *, unavailable: Iterable[str] = ()) -> None:
        """Make the folder a store of this organization, if it is none yet.

        Parameters
        ----------
        unavailable
            Objects that the organization does not show: numbers do not wait for them.

        Raises
        ------
        StoreError
            If it is a store of another organization.
        """
        self._folder.claim(organization_id, unavailable)

    @property
    def unavailable(self) -> tuple[str, ...]:
        """Objects that the organization did not show to the last sync."""
        return self._folder.unavailable

    def _check_synced(self, was_read: bool) -> None:
        if not was_read:
            raise DataError(
                f"nothing was synced into the store at {self.path} yet", hint="run `attribution sync`"
            )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say of files that vanished or broke that the store is damaged."""
        try:
            yield
        except (OSError, pl.exceptions.ComputeError) as error:
            raise StoreError(
                f"the store at {self.path} is damaged: {' '.join(str(error).split())[:200]}",
                hint="restore it from a backup, or sync into a new folder",
            ) from error

    def _settings(self, section: str, kind: type[S]) -> S:
        file = self.path / SETTINGS
        if not file.exists():
            return kind()
        return kind.from_file(read_toml(file), section)


def _aware(instant: datetime | None, name: str = "known_at") -> datetime | None:
    if instant is not None and instant.tzinfo is None:
        raise UsageError(f"{name} {instant} has no time zone", hint="datetime(2026, 1, 31, tzinfo=UTC)")
    return instant
