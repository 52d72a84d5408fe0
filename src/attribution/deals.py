"""Deals: opportunities and their touchpoints as of an instant, as columns under a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from attribution.columns import (
    APPROVALS,
    DAY,
    DEAL_TYPES,
    NOBODY,
    Bools,
    Flag,
    Ints,
    Party,
    Snapshot,
    from_micros,
)
from attribution.errors import UsageError, known
from attribution.periods import period_days
from attribution.policy import Policy
from attribution.views import Deal, Touchpoint, deal_at, touchpoint_at

__all__ = ["Deals"]

_KEPT_POLICIES = 3
"""Policies whose results a snapshot keeps."""
_ANY_POLICY = ""
"""In place of the hash of a policy: no policy changes this."""

T = TypeVar("T")


class Deals:
    """Deals as of an instant, under a policy.

    Made by ``Store.deals``, or by :meth:`from_frames`. Selecting (:meth:`where`) and changing the rules
    (:meth:`with_policy`) are free: both share the columns of one :class:`Snapshot`.
    """

    def __init__(self, snapshot: Snapshot, policy: Policy, selected: Ints | None = None) -> None:
        if not isinstance(policy, Policy):
            raise UsageError(f"policy is {policy!r}, and a Policy is needed", hint="such as Policy()")
        self.snapshot = snapshot
        self.policy = policy
        self.selected: Ints = np.arange(len(snapshot.deals), dtype=np.int64) if selected is None else selected
        """Positions, ascending, of the selected deals."""
        self.selected.flags.writeable = False

    @classmethod
    def from_frames(
        cls,
        deals: object,
        touchpoints: object,
        stages: object = None,
        *,
        as_of: datetime,
        policy: Policy | None = None,
        zone: str = "UTC",
    ) -> Deals:
        """Deals of tables: polars, pandas, anything that speaks Arrow, or dicts of columns.

        Rows are checked; the first that is wrong is named by its column, its row (counted from 0) and its
        deal. The order of deals and touchpoints does not matter. Text columns also take integers, and
        instants are aware datetimes, or ISO 8601 text with a zone.

        Parameters
        ----------
        deals
            One row per deal.

            ===================== ============================================================================
            column                meaning
            ===================== ============================================================================
            ``id``                required
            ``created_at``        required instant
            ``closed_at``         required instant; null: open. A deal that closed after ``as_of`` is open
            ``is_won``            required; true, false, or null for an open deal
            ``amount``            whole, decimal, text or float with the digits of the currency; null, or no
                                  such column: unvalued
            ``currency``          ISO code, the same in every row; default ``XXX``, two digits
            ``closed_on``         date that selects periods; default: the day of ``closed_at`` in ``zone``
            ``account_id``        deals of one account void one another's sourcing evidence
            ``account_parent_id`` the account's parent: for own-account touches
            ``deal_type``         ``new``, ``expansion``, ``renewal``, ``unclassified`` (null; default)
            ``name``              default: the id
            ``owner_id``          kept as a segment of this name
            ``lead_created_at``   instant at which the deal's earliest lead was created: a milestone
            any other             a segment: text, whole number, boolean or date; null shows as "(none)"
            ===================== ============================================================================
        touchpoints
            One row per touchpoint.

            ===================== ============================================================================
            column                meaning
            ===================== ============================================================================
            ``deal_id``           required; an id of ``deals``
            ``occurred_at``       required instant; later than ``as_of``: not visible
            ``partner``           required name; null only where ``is_direct``
            ``partner_id``        default: the name
            ``id``                unique; orders touchpoints of one instant, bytewise. Default: they are
                                  ordered by partner, kind and program
            ``parent``            the company that the partner rolls up to: name or id
            ``program``           name; null: none
            ``kind``              a kind of touchpoint (``attribution.columns.KINDS``), or another if
                                  ``strength`` is given; default ``meeting``
            ``strength``          ``strong``, ``weak`` or ``exposure``; default: that of the kind
            ``role``              what ``Policy.sourcing_roles`` names, for kind ``role``
            ``recorded_at``       default: ``occurred_at``
            ``approval``          ``approved``, ``pending`` or ``rejected``; null: not judged
            ``approved_at``       default: ``recorded_at``
            ``expires_at``        instant, or a date, which lasts to the end of its day in ``zone``
            ``recorded_by_owner`` the deal's owner recorded it, which approves influence; default false
            ``is_direct``         an act without a partner, a player where ``pool="all"``; default false
            ``recorded_by``       who wrote the record, and
            ``approved_by``       who approved it: for :func:`attribution.audit`, as is
            ``website``           the partner's web address
            ===================== ============================================================================
        stages
            One row per stage that a deal entered: ``deal_id``, ``stage``, ``entered_at`` and ``is_closed``
            (default false). Rows of one instant are in their order. Stages come in the order in which most
            deals first entered them. Without stages no deal was reopened, and there are no days in stage.
        as_of
            Aware instant; nothing that happened later is visible.
        policy
            Default: ``Policy()``.
        zone
            Name of the time zone that turns instants into days.

        Raises
        ------
        UsageError
            For a missing or unknown column, a column of another type, a naive instant.
        DataError
            For rows that cannot be.

        Examples
        --------
        >>> from datetime import UTC, datetime
        >>> deals = Deals.from_frames(
        ...     {
        ...         "id": ["D1"],
        ...         "created_at": ["2026-01-01T00:00Z"],
        ...         "closed_at": ["2026-03-01T00:00Z"],
        ...         "is_won": [True],
        ...         "amount": [1000],
        ...     },
        ...     {
        ...         "deal_id": ["D1"],
        ...         "occurred_at": ["2026-01-20T09:30Z"],
        ...         "partner": ["Globex"],
        ...     },
        ...     as_of=datetime(2026, 6, 30, tzinfo=UTC),
        ... )
        >>> deals["D1"].touchpoints[0].partner.name
        'Globex'
        """
        from attribution.frames import snapshot_of_frames

        return cls(snapshot_of_frames(deals, touchpoints, stages, as_of=as_of, zone=zone), policy or Policy())

    def __len__(self) -> int:
        return len(self.selected)

    def __repr__(self) -> str:
        return (
            f"<Deals: {len(self):,} of {len(self.snapshot.deals):,}, as of {self.as_of:%Y-%m-%dT%H:%M:%SZ}>"
        )

    def __iter__(self) -> Iterator[Deal]:
        return (self._deal(int(position)) for position in self.selected)

    def __contains__(self, opportunity_id: object) -> bool:
        return isinstance(opportunity_id, str) and self._position(opportunity_id) is not None

    def __getitem__(self, opportunity_id: str) -> Deal:
        """One selected deal, by the 18- or 15-character id of its opportunity.

        Raises
        ------
        UsageError
            If no selected deal has this id.
        """
        position = self._position(opportunity_id) if isinstance(opportunity_id, str) else None
        if position is None:
            raise UsageError(
                f"there is no opportunity {opportunity_id!r} among these {len(self):,} deals",
                hint="ids are case-sensitive; a filter, or as_of, may have left it out",
            )
        return self._deal(position)

    @property
    def as_of(self) -> datetime:
        """The event cut-off: nothing that happened later is visible."""
        return from_micros(self.snapshot.as_of)

    @property
    def known_at(self) -> datetime | None:
        """The knowledge cut-off; None: everything the store holds."""
        return None if self.snapshot.known_at is None else from_micros(self.snapshot.known_at)

    @property
    def currency(self) -> str:
        """ISO code of the report currency; ``XXX`` if nobody said which."""
        return self.snapshot.currency

    @property
    def partners(self) -> tuple[Party, ...]:
        """Every partner with a touchpoint in the snapshot."""
        return self.snapshot.partners

    @property
    def programs(self) -> tuple[Party, ...]:
        """Every program of the organization that a touchpoint may carry."""
        return self.snapshot.programs

    def with_policy(self, policy: Policy) -> Deals:
        """The same deals under other rules; nothing is derived again."""
        return Deals(self.snapshot, policy, self.selected)

    def where(
        self,
        *,
        closed: str | tuple[date, date] | None = None,
        partner: str | Iterable[str] | None = None,
        program: str | Iterable[str] | None = None,
        deal_type: str | Iterable[str] | None = None,
        segments: Mapping[str, str | Iterable[str]] | None = None,
    ) -> Deals:
        """Select deals; every touchpoint of a selected deal stays.

        Parameters
        ----------
        closed
            Period of the close date: ``"2026Q2"``, ``"FY2026Q2"``, ``"2026-01-01..2026-06-30"`` or two dates.
        partner, program
            Names or ids: deals with a strong or weak touchpoint of one of them, whatever its age. The
            program ``"(none)"`` stands for touchpoints without one.
        deal_type
            ``new``, ``expansion``, ``renewal`` or ``unclassified``.
        segments
            Value or values by segment, such as ``{"Industry": "Retail"}``; ``"(none)"``: deals without one.

        Raises
        ------
        UsageError
            For a period, partner, program, deal type or segment that does not exist; names those that do.
        """
        columns = self.snapshot.deals
        keep = np.ones(len(self), dtype=bool)
        if closed is not None:
            first, last = period_days(closed, self.snapshot.fiscal) if isinstance(closed, str) else closed
            days = columns.closed_on[self.selected]
            epoch = date(1970, 1, 1)
            keep &= (days >= (first - epoch).days) & (days <= (last - epoch).days)
        if deal_type is not None:
            wanted = [_code(DEAL_TYPES, name, "deal type") for name in _each(deal_type)]
            keep &= np.isin(columns.deal_type[self.selected], wanted)
        names = tuple(name for name, _ in self.snapshot.segments)
        for name, value in (segments or {}).items():
            at = _code(names, name, "segment")
            values = (NOBODY, *self.snapshot.segments[at][1])
            wanted = [_code(values, each, f"{name}") - 1 for each in _each(value)]
            keep &= np.isin(columns.segments[at][self.selected], wanted)
        if partner is not None or program is not None:
            keep &= self._touched(self.touchpoints_of(partner, program))[self.selected]
        return Deals(self.snapshot, self.policy, self.selected[keep])

    def touchpoints_of(
        self, partner: str | Iterable[str] | None = None, program: str | Iterable[str] | None = None
    ) -> Bools:
        """Mask over all touchpoints: those of one of these partners under one of these programs."""
        touchpoints = self.snapshot.touchpoints
        mask = np.ones(len(touchpoints), dtype=bool)
        if partner is not None:
            mask &= np.isin(touchpoints.partner, party_codes(self.snapshot.partners, partner, "partner"))
        if program is not None:
            mask &= np.isin(
                touchpoints.program, party_codes(self.snapshot.programs, program, "program", NOBODY)
            )
        return mask

    @property
    def strength(self) -> NDArray[np.uint8]:
        """Code into ``STRENGTHS``, per touchpoint of the snapshot."""
        return self.snapshot.touchpoints.flags & np.uint8(Flag.STRENGTH)

    @property
    def attached(self) -> Bools:
        """Mask over all touchpoints: those that reach their deal under this policy's influence window."""

        def build() -> Bools:
            touchpoints = self.snapshot.touchpoints
            window = self.policy.influence_window_days * DAY
            mask = np.ones(len(touchpoints), dtype=bool)
            mask[touchpoints.reached] = (touchpoints.reach_from <= window) & (
                window < touchpoints.reach_below
            )
            return mask

        return self.memoized("attached", build)

    @property
    def involved(self) -> Bools:
        """Mask over all touchpoints: those that tie their partner to their deal, whatever their age.

        Strong or weak, not rejected, not on the partner's own account.
        """

        def build() -> Bools:
            touchpoints = self.snapshot.touchpoints
            own = (touchpoints.flags & Flag.OWN_ACCOUNT) != 0
            mask: Bools = self.attached & (self.strength > 0) & ~own
            mask[touchpoints.judged[touchpoints.approval == APPROVALS.index("rejected")]] = False
            return mask

        return self.memoized("involved", build)

    @property
    def deal_of(self) -> NDArray[np.int32]:
        """Position of its deal, per touchpoint of the snapshot."""

        def build() -> NDArray[np.int32]:
            counts = np.diff(self.snapshot.touchpoints.offsets)
            return np.repeat(np.arange(len(counts), dtype=np.int32), counts)

        return self._kept(("deal_of", _ANY_POLICY), build)

    @property
    def parents(self) -> tuple[tuple[Party, ...], NDArray[np.int32]]:
        """The ultimate parents of partners, by id, and for each partner the code of its own.

        A partner without a parent is its own.
        """
        return self._kept(("parents", _ANY_POLICY), lambda: _ultimate_parents(self.snapshot))

    def memoized(self, name: str, build: Callable[[], T]) -> T:
        """Work out something of the whole snapshot under this policy once, and keep it for a while."""
        return self._kept((name, self.policy.hash), build)

    def _kept(self, key: tuple[str, str], build: Callable[[], T]) -> T:
        memo = self.snapshot.memo
        value = memo.pop(key) if key in memo else build()
        memo[key] = value
        # of a long what-if only the policies used last are kept: each takes a byte or more per touchpoint
        policies = dict.fromkeys(policy for _, policy in reversed(memo) if policy != _ANY_POLICY)
        for stale in list(policies)[_KEPT_POLICIES:]:
            for name, policy in list(memo):
                if policy == stale:
                    del memo[name, policy]
        return cast("T", value)

    def _touched(self, mask: Bools) -> Bools:
        """Which deals of the snapshot have a strong or weak touchpoint under this mask."""
        touched = np.zeros(len(self.snapshot.deals), dtype=bool)
        touched[self.deal_of[mask & self.involved]] = True
        return touched

    def _position(self, opportunity_id: str) -> int | None:
        ids = self.snapshot.deals.id
        wanted = opportunity_id.encode()
        at = int(np.searchsorted(ids, np.bytes_(wanted)))
        # a 15-character id is the 18-character one without its checksum
        if at == len(ids) or not (
            ids[at] == wanted or (len(wanted) == 15 and len(ids[at]) == 18 and ids[at][:15] == wanted)
        ):
            return None
        place = int(np.searchsorted(self.selected, at))
        return at if place < len(self.selected) and self.selected[place] == at else None

    def _deal(self, position: int) -> Deal:
        rows = range(*(int(bound) for bound in self.snapshot.touchpoints.offsets[position : position + 2]))
        attached = self.attached
        return deal_at(self.snapshot, position, [row for row in rows if attached[row]])

    def touchpoint(self, row: int) -> Touchpoint:
        """The touchpoint at a position of the snapshot's columns, as an object."""
        return touchpoint_at(self.snapshot, row)


def _ultimate_parents(snapshot: Snapshot) -> tuple[tuple[Party, ...], NDArray[np.int32]]:
    # nobody is above himself: both wings see to it
    known = {party.id: party for party in (*snapshot.parents, *snapshot.partners)}
    top: list[str] = []
    for party in snapshot.partners:
        highest = party
        while highest.parent_id is not None:
            highest = known.get(highest.parent_id, Party(highest.parent_id, highest.parent_id))
        top.append(highest.id)
    parents = tuple(known.get(name, Party(name, name)) for name in sorted(set(top)))
    code = {party.id: at for at, party in enumerate(parents)}
    return parents, np.array([code[name] for name in top], dtype=np.int32)


def _each(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _code(names: tuple[str, ...], name: str, what: str) -> int:
    if name not in names:
        raise UsageError(f"there is no {what} {name!r}", hint=f"known: {known(names)}")
    return names.index(name)


def party_codes(
    parties: tuple[Party, ...], wanted: str | Iterable[str], what: str, nobody: str | None = None
) -> list[int]:
    """Codes of the parties named by id (15 or 18 characters) or by name, ignoring case; -1 for ``nobody``."""
    codes = []
    for text in _each(wanted):
        if text == nobody:
            codes.append(-1)
            continue
        found = [at for at, party in enumerate(parties) if text in (party.id, party.id[:15])]
        found = found or [at for at, party in enumerate(parties) if party.name.casefold() == text.casefold()]
        if not found:
            raise UsageError(
                f"there is no {what} {text!r}",
                hint=f"known {what}s: {known(party.name for party in parties)}",
            )
        if len(found) > 1:
            raise UsageError(
                f"{len(found)} {what}s are called {text!r}",
                hint=f"name one by its id: {known(parties[at].id for at in found)}",
            )
        codes += found
    return codes
