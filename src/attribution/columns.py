"""The columns of deals and touchpoints, and the words for what their codes mean.

Where the two wings meet: the wing of records makes a :class:`Snapshot`, the wing of numbers reads it.
Instants are int64 microseconds since the epoch, UTC; days are int32 days since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from attribution.asides import Bools, CostColumns, Dangling, DirectTouches, Ints, Stranded
from attribution.errors import UsageError, known
from attribution.mapping import KINDS
from attribution.periods import FiscalYear

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "APPROVALS",
    "APPROVERS",
    "CLAIMS",
    "DAY",
    "DEAL_TYPES",
    "DIRECT",
    "KINDS",
    "NOBODY",
    "NO_DAY",
    "OPEN",
    "OUTCOMES",
    "STRENGTHS",
    "UNKNOWN_STAGE",
    "Bools",
    "Claim",
    "CostColumns",
    "Dangling",
    "DealColumns",
    "Decision",
    "DirectTouches",
    "Flag",
    "Ints",
    "Party",
    "Snapshot",
    "SpellColumns",
    "Stage",
    "Stranded",
    "TouchpointColumns",
    "from_micros",
    "micros",
    "read_only",
    "to_micros",
]

T = TypeVar("T")

OPEN = np.iinfo(np.int64).max
"""``closed_at`` of a deal that is open: later than every instant."""
NO_DAY = np.iinfo(np.int32).min
"""``closed_on`` of a deal without a readable close date."""
DAY = 86_400_000_000
"""Microseconds of 24 hours."""
NOBODY = "(none)"
"""Label of what has no program, tier or segment."""
UNKNOWN_STAGE = "(unknown)"
"""Stage of a deal between its creation and the first that is known of its stages."""

OUTCOMES = ("open", "won", "lost")
DEAL_TYPES = ("new", "expansion", "renewal", "unclassified")
STRENGTHS = ("exposure", "weak", "strong")
APPROVALS = ("none", "pending", "approved", "rejected")
"""What a mapped field says of a record; ``none``: no such field is mapped, or its value is of no kind."""

APPROVERS = ("unknown", "another", "claimant")
"""Who approved a record: ``claimant``: the same user who recorded it."""
CLAIMS = ("sourced", "influenced")
"""What a partner can claim of a deal."""


class Flag:
    """Bits of ``TouchpointColumns.flags``; the lowest two bits hold the strength."""

    STRENGTH = 0b11
    OWN_ACCOUNT = 1 << 2
    """The partner is the opportunity's own account or of its family: no touchpoint, kept for the record."""
    SELF_DEAL = 1 << 3
    """The same, but stated by an explicit row: counts."""
    LOGGED_LATE = 1 << 4
    """Recorded more than 14 days from when it happened."""
    LINKED = 1 << 5
    """The evidence names the opportunity itself; otherwise the account rule brought it here."""
    BY_OWNER = 1 << 6
    """Recorded by the opportunity's current owner, an internal user."""
    SOURCING = 1 << 7
    """Of an org's own kind that brings deals in, as the mapping says."""


@dataclass(frozen=True, slots=True)
class Party:
    """A partner or a program: its id, its newest known name, and the id it rolls up to."""

    id: str
    name: str
    parent_id: str | None = None
    website: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What one partner claims of one deal: that it sourced it, or that it influenced it.

    Raises
    ------
    UsageError
        If ``kind`` is neither ``"sourced"`` nor ``"influenced"``.

    Examples
    --------
    >>> print(Claim("006Ab00000QxYzZIAV", "001Ab00000PqRsTIAV", "sourced"))
    sourced:006Ab00000QxYzZIAV:001Ab00000PqRsTIAV
    """

    opportunity_id: str
    partner_id: str
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in CLAIMS:
            raise UsageError(f"there is no {self.kind!r} claim", hint=f"kind is one of: {known(CLAIMS)}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.opportunity_id}:{self.partner_id}"


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decided about a claim, kept in the store; the CRM's own word comes before it."""

    claim: Claim
    approve: bool
    """False: rejected."""
    by: str
    """Id of the user, or another name."""
    reason: str
    at: datetime
    """From when on it is known."""


DIRECT = Party("", "(direct)")
"""Who plays for our own people where they are players beside partners; it has no id."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the sales process."""

    name: str
    is_closed: bool = False
    place: int | None = None
    """Its place in the process: what is greater comes later. None: nobody knows."""


@dataclass(frozen=True, slots=True, eq=False)
class DealColumns:
    """One entry per deal, ordered by id, bytewise."""

    id: NDArray[np.bytes_]
    created_at: Ints
    closed_at: Ints
    """``OPEN`` for an open deal."""
    outcome: NDArray[np.int8]
    """Code into ``OUTCOMES``."""
    closed_on: NDArray[np.int32]
    """The close date that the CRM reports; ``NO_DAY`` if unreadable."""
    amount: Ints
    """Minor units of the report currency; 0 where not ``valued``."""
    valued: Bools
    rate_is_current: Bools
    """The amount was converted at today's rate, as no dated one covers the close date."""
    deal_type: NDArray[np.int8]
    """Code into ``DEAL_TYPES``."""
    account: NDArray[np.int32]
    """Code of the account, equal for deals of one account; -1 without one."""
    lead_created_at: Ints
    """Creation of the earliest lead that became this deal; ``OPEN`` without one."""
    last_open_spell_at: Ints
    """Start of the last open spell before the close if there were two or more, else ``OPEN``."""
    lead_source: NDArray[np.int16]
    """Code into ``Snapshot.lead_sources``; -1 without one."""
    owner: NDArray[np.int32]
    """Code into ``Snapshot.owners``; -1 without one."""
    close_date_pushes: NDArray[np.int16]
    """How often the close date was moved to a later day while the deal stayed open; -1: nothing tells."""
    segments: tuple[NDArray[np.int32], ...]
    """Per name in ``Snapshot.segments``: code into its values; -1 without one."""
    close_before_creation: Bools
    approximate: Bools
    """Stage, amount or close date at this as_of are the current ones: no history reaches back that far."""

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True, eq=False)
class TouchpointColumns:
    """One entry per touchpoint, ordered by (deal, occurred_at, id).

    A touchpoint that the account rule brought to its deal is there only under policies whose influence
    window W has ``reach_from <= W < reach_below``: below it no deal of the account was in reach, from
    ``reach_below`` on several were.
    """

    offsets: Ints
    """Deal ``i`` has the touchpoints ``offsets[i]:offsets[i + 1]``; one entry more than deals."""
    occurred_at: Ints
    partner: NDArray[np.int32]
    program: NDArray[np.int16]
    """Code into ``Snapshot.programs``; -1 for none."""
    kind: NDArray[np.int8]
    """Code into ``Snapshot.kinds``."""
    flags: NDArray[np.uint8]
    tier: NDArray[np.int16]
    """Code into ``Snapshot.tiers``: the partner's level in that program at that instant; -1 for none."""
    recorded_at: Ints
    object: NDArray[np.int8]
    record: NDArray[np.bytes_]
    role: NDArray[np.int16]
    """Code into ``Snapshot.roles``, the role that a Partner row states; -1 for none."""
    reached: Ints
    """Positions, ascending, of the touchpoints that the account rule brought to their deal."""
    reach_from: Ints
    reach_below: Ints
    hosted: Ints
    """Positions, ascending, of meetings with an internal user; several users, several entries."""
    host: NDArray[np.int32]
    """Code into ``Snapshot.hosts`` of that user."""
    judged: Ints
    """Positions, ascending, of touchpoints whose record says whether it was approved, or when it expires."""
    approval: NDArray[np.int8]
    """Code into ``APPROVALS``, as of the snapshot."""
    approved_at: Ints
    """``OPEN`` unless approved."""
    expires_at: Ints
    """First instant at which the record holds no more: the end of its expiry date; ``OPEN`` without one."""
    approver: NDArray[np.int8] | None = None
    """Code into ``APPROVERS``, of the ``judged``."""
    cold_at: Ints | None = None
    """Where each is in ``recorded_at``, ``object`` and ``record``, if these were chosen from another
    snapshot's: most of the bytes are in there, and both share them."""

    def __len__(self) -> int:
        return len(self.occurred_at)


@dataclass(frozen=True, slots=True, eq=False)
class SpellColumns:
    """One entry per unbroken stay of a deal in a stage, ordered by (deal, entered_at).

    It ends where the deal's next one begins; the last of an open deal lasts.
    """

    offsets: Ints
    """Deal ``i`` has the spells ``offsets[i]:offsets[i + 1]``; none where nothing is known of its stages."""
    stage: NDArray[np.int16]
    """Code into ``Snapshot.stages``."""
    entered_at: Ints

    def __len__(self) -> int:
        return len(self.stage)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything known of all deals as of an instant; no policy has touched it."""

    deals: DealColumns
    touchpoints: TouchpointColumns
    stranded: Stranded
    direct: DirectTouches
    """On no path; players beside partners where a measure asks for it."""
    spells: SpellColumns
    names: Sequence[str]
    """Display names of the deals, in their order."""
    partners: tuple[Party, ...]
    parents: tuple[Party, ...]
    """Accounts that partners roll up to, by ``parent_id``, and that are no partners themselves."""
    programs: tuple[Party, ...]
    tiers: tuple[Party, ...]
    """Levels of programs; each rolls up to its program."""
    kinds: tuple[str, ...]
    """``KINDS``, then the org's own."""
    segments: tuple[tuple[str, tuple[str, ...]], ...]
    """Name and values of each field of the opportunity that deals can be grouped by."""
    owners: tuple[str, ...]
    """Ids of the users who own deals."""
    stages: tuple[Stage, ...]
    """In the order of the process."""
    objects: tuple[str, ...]
    """CRM objects that hold evidence, in the order of their codes."""
    roles: tuple[str, ...]
    lead_sources: tuple[str, ...]
    hosts: tuple[str, ...]
    as_of: int
    known_at: int | None
    currency: str
    zone: str
    fiscal: FiscalYear
    mapping_hash: str
    decisions: tuple[Decision, ...] = ()
    """What was decided here about claims, the oldest first."""
    excluded_deals: int = 0
    partner_since: tuple[int | None, ...] = ()
    """When each partner was signed; None, or nothing at all: not known."""
    dangling: Dangling | None = None
    """None: what was deleted is not known."""
    costs: CostColumns | None = None
    """None: no object that holds costs is mapped."""
    untold: tuple[str, ...] = ()
    """Facts that nothing tells: ``recorded_at``, ``approver``, ``website``, ``account``, ``handed_over``."""
    memo: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)
    """What has been worked out of these columns, which never change, by name and policy hash."""


def to_micros(instant: datetime, name: str = "instant") -> int:
    """Microseconds since the epoch of an aware instant.

    Raises
    ------
    UsageError
        If the instant is naive: which moment it means would depend on the machine.
    """
    if instant.tzinfo is None:
        raise UsageError(
            f"{name} {instant.isoformat()} has no time zone",
            hint="pass an aware datetime, such as tzinfo=UTC",
        )
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """Aware UTC instant of microseconds since the epoch."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def micros(instants: pl.Series) -> Ints:
    """Instants as microseconds since the epoch; ``OPEN`` for null."""
    return instants.dt.epoch("us").fill_null(OPEN).to_numpy().astype(np.int64)


def read_only(columns: T) -> T:
    """The same dataclass of arrays, its arrays protected from writing."""
    for name in columns.__dataclass_fields__:  # type: ignore[attr-defined] # T is a dataclass of arrays
        value = getattr(columns, name)
        for array in value if isinstance(value, tuple) else () if value is None else (value,):
            array.flags.writeable = False
    return columns
