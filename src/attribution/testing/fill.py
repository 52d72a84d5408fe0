"""Fill a store directly, without a CRM and without the wire, for benchmarks and large tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attribution.errors import StoreError
from attribution.mirror.log import ObjectLog

if TYPE_CHECKING:
    from attribution.store import Store

__all__ = ["fill"]

_NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
_DAY: Final = 86_400_000_000
_INSTANT: Final = pl.Datetime("us", "UTC")
_DECIMAL: Final = pl.Decimal(38, 18)
_INTERNAL_USERS, _PROGRAMS = 60, 12
_STAGES: Final = (
    ("Prospecting", False, False),
    ("Qualification", False, False),
    ("Needs Analysis", False, False),
    ("Proposal", False, False),
    ("Negotiation", False, False),
    ("Closed Won", True, True),
    ("Closed Lost", True, False),
)
_WON, _LOST = 5, 6
_TYPES: Final = ("New Customer", "Existing Customer - Upgrade", "Existing Customer - Renewal", None)

Ints = NDArray[np.int64]


def fill(
    store: Store, opportunities: int, *, seed: int = 0, touches: float = 10.0, partners: int = 200
) -> None:
    """Write a seeded org into an empty store: as many opportunities as asked for, and their evidence.

    Parameters
    ----------
    store
        A store that holds nothing yet.
    opportunities
        Number of opportunities; everything else is in proportion.
    seed
        Equal seeds give equal stores.
    touches
        Touch records per opportunity: meetings, partner rows and leads together.
    partners
        Number of partner accounts.

    Raises
    ------
    StoreError
        If the store already belongs to an organization.

    Examples
    --------
    >>> import tempfile
    >>> from attribution import Store
    >>> from attribution.testing import fill
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(folder)
    ...     fill(store, 50)
    ...     store.rows("Opportunity").height
    50
    """
    if store.organization_id is not None:
        raise StoreError(f"{store.path} is in use already", hint="fill an empty or a new folder")
    org = _Org(opportunities, seed, touches, max(partners, 1))
    frames = org.frames()
    store.claim(_ids("00D", 1)[0], unavailable=set(store.mapping.readings()) - set(frames))
    for name, frame in frames.items():
        ObjectLog(store.path / "mirror", name).append(frame, synced_at=_NOW, watermark=_NOW)


class _Org:
    """The draws behind one org; every frame has the fields that the default mapping reads."""

    def __init__(self, opportunities: int, seed: int, touches: float, partners: int) -> None:
        self.random = np.random.default_rng(seed)
        self.n = opportunities
        self.n_customers = max(opportunities // 3, 1)
        self.n_partners = partners
        self.partner_ids = _ids("001", partners)
        self.customer_ids = _ids("001", self.n_customers, start=partners)
        self.users = _ids("005", _INTERNAL_USERS + partners)
        self.contacts = _ids("003", 2 * partners)
        self.deals = _ids("006", opportunities)
        self.customer = self.random.integers(0, self.n_customers, opportunities)
        self.owner = self.random.integers(0, _INTERNAL_USERS, opportunities)
        self.created = _micros(_NOW) - self.random.integers(30 * _DAY, 1_100 * _DAY, opportunities)
        self.life = self.random.integers(5 * _DAY, 200 * _DAY, opportunities)
        self.cents = np.round(np.exp(self.random.normal(9.5, 1.2, opportunities)) * 100).astype(np.int64)
        closes = self.created + self.life <= _micros(_NOW) - _DAY
        fate = np.where(self.random.random(opportunities) < 0.35, _WON, _LOST)
        self.stage = np.where(closes, fate, self.random.integers(0, _WON, opportunities))
        meetings, roles = round(opportunities * touches * 0.7), round(opportunities * touches * 0.25)
        self.n_meetings, self.n_roles = meetings, roles
        self.n_leads = max(round(opportunities * touches) - meetings - roles, 0)

    def frames(self) -> dict[str, pl.DataFrame]:
        """Rows by object, as the mirror holds them."""
        return {
            "Organization": self.organization(),
            "OpportunityStage": self.stages(),
            "Account": self.accounts(),
            "User": self.people("005", self.users, contact=True),
            "Contact": self.people("003", self.contacts, contact=False),
            "Opportunity": self.opportunities(),
            "OpportunityHistory": self.history(),
            "Partner": self.roles(),
            "Lead": self.leads(),
            "Event": self.events(),
            "ChannelProgram": self.programs(),
            "ChannelProgramMember": self.members(),
        }

    def organization(self) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "Id": _ids("00D", 1),
                "Name": ["Filled"],
                "TimeZoneSidKey": ["America/New_York"],
                "FiscalYearStartMonth": [1],
                "UsesStartDateAsFiscalYearName": [False],
                "IsSandbox": [True],
            }
        )

    def stages(self) -> pl.DataFrame:
        labels = [label for label, _, _ in _STAGES]
        return pl.DataFrame(
            {
                "Id": _ids("01J", len(_STAGES)),
                "ApiName": labels,
                "MasterLabel": labels,
                "IsActive": [True] * len(_STAGES),
                "IsClosed": [closed for _, closed, _ in _STAGES],
                "IsWon": [won for _, _, won in _STAGES],
            }
        )

    def accounts(self) -> pl.DataFrame:
        ids = [*self.partner_ids, *self.customer_ids]
        partner = np.arange(len(ids)) < self.n_partners
        names = [f"Partner {i:03d}" if is_one else f"Customer {i:06d}" for i, is_one in enumerate(partner)]
        return self._dated(ids, np.full(len(ids), _micros(_NOW) - 1_200 * _DAY)).with_columns(
            Name=pl.Series(names),
            Type=pl.Series(np.where(partner, "Partner", "Customer")),
            IsPartner=pl.Series(partner),
            ParentId=pl.lit(None, pl.String),
            MasterRecordId=pl.lit(None, pl.String),
        )

    def people(self, key_prefix: str, ids: list[str], *, contact: bool) -> pl.DataFrame:
        frame = self._dated(ids, np.full(len(ids), _micros(_NOW) - 1_150 * _DAY))
        if not contact:
            owners = [self.partner_ids[i % self.n_partners] for i in range(len(ids))]
            return frame.with_columns(AccountId=pl.Series(owners), MasterRecordId=pl.lit(None, pl.String))
        external = [None] * _INTERNAL_USERS + self.contacts[: self.n_partners]
        return frame.drop("IsDeleted").with_columns(ContactId=pl.Series(external, dtype=pl.String))

    def opportunities(self) -> pl.DataFrame:
        closed_at = self.created + self.life
        opened_by_partner = self.random.random(self.n) < 0.03
        author = np.where(
            opened_by_partner,
            _INTERNAL_USERS + self.random.integers(0, self.n_partners, self.n),
            self.owner,
        )
        closed = self.stage >= _WON
        frame = self._dated(self.deals, self.created, np.where(closed, closed_at, self.created))
        return frame.with_columns(
            Name=pl.format("Deal {}", pl.int_range(pl.len()).cast(pl.String).str.zfill(7)),
            AccountId=_take(self.customer_ids, self.customer),
            OwnerId=_take(self.users, self.owner),
            CreatedById=_take(self.users, author),
            StageName=_take([label for label, _, _ in _STAGES], self.stage),
            IsClosed=pl.Series(closed),
            IsWon=pl.Series(self.stage == _WON),
            Amount=self._amount(np.arange(self.n)),
            CloseDate=pl.Series(closed_at).cast(_INSTANT).dt.date(),
            Type=_take(list(_TYPES), self.random.integers(0, len(_TYPES), self.n)),
            LeadSource=_take(["Web", "Partner", "Outbound", None], self.random.integers(0, 4, self.n)),
            PartnerAccountId=pl.lit(None, pl.String),
        )

    def history(self) -> pl.DataFrame:
        """Four rows of open stages at most, evenly over the deal's life, and one where it was closed."""
        steps = self.random.integers(1, 5, self.n)
        closed = self.stage >= _WON
        rows = steps + closed
        deal = np.repeat(np.arange(self.n), rows)
        step = np.arange(len(deal)) - np.repeat(np.cumsum(rows) - rows, rows)
        last = step == steps[deal]
        at = self.created[deal] + self.life[deal] * step // np.maximum(steps[deal], 1)
        stage = np.where(last, self.stage[deal], step)
        frame = self._dated(_ids("008", len(deal)), np.minimum(at, _micros(_NOW)))
        return frame.with_columns(
            OpportunityId=_take(self.deals, deal),
            StageName=_take([label for label, _, _ in _STAGES], stage),
            ForecastCategory=pl.lit(None, pl.String),
            Probability=pl.lit(None, _DECIMAL),
            Amount=self._amount(deal),
            CloseDate=pl.Series(self.created[deal] + self.life[deal]).cast(_INSTANT).dt.date(),
        )

    def roles(self) -> pl.DataFrame:
        deal, at = self._when(self.n_roles)
        partner = self._partner(self.n_roles)
        frame = self._dated(_ids("00I", self.n_roles), at)
        return frame.with_columns(
            OpportunityId=_take(self.deals, deal),
            AccountToId=_take(self.partner_ids, partner),
            Role=_take(["Reseller", "Referral", "Implementation"], partner % 3),
            CreatedById=_take(self.users, self.owner[deal]),
        )

    def leads(self) -> pl.DataFrame:
        deal = self.random.integers(0, self.n, self.n_leads) if self.n else np.empty(0, np.int64)
        at = self.created[deal] - self.random.integers(0, 60 * _DAY, self.n_leads)
        linked = self.random.random(self.n_leads) < 0.8
        author = _INTERNAL_USERS + self._partner(self.n_leads)
        frame = self._dated(_ids("00Q", self.n_leads), at)
        return frame.with_columns(
            CreatedById=_take(self.users, author),
            ConvertedDate=pl.Series(self.created[deal]).cast(_INSTANT).dt.date(),
            ConvertedAccountId=_take(self.customer_ids, self.customer[deal]),
            ConvertedOpportunityId=pl.when(pl.Series(linked)).then(_take(self.deals, deal)),
            PartnerAccountId=pl.lit(None, pl.String),
            MasterRecordId=pl.lit(None, pl.String),
        )

    def events(self) -> pl.DataFrame:
        deal, at = self._when(self.n_meetings)
        on_account = self.random.random(self.n_meetings) < 0.1
        contact = self._partner(self.n_meetings) + self.n_partners * self.random.integers(
            0, 2, self.n_meetings
        )
        frame = self._dated(_ids("00U", self.n_meetings), at)
        return frame.with_columns(
            WhoId=_take(self.contacts, contact),
            WhatId=pl.when(pl.Series(on_account))
            .then(_take(self.customer_ids, self.customer[deal]))
            .otherwise(_take(self.deals, deal)),
            OwnerId=_take(self.users, self.owner[deal]),
            CreatedById=_take(self.users, self.owner[deal]),
            ActivityDateTime=pl.col("CreatedDate"),
            ActivityDate=pl.col("CreatedDate").dt.date(),
            EndDateTime=pl.col("CreatedDate") + timedelta(hours=1),
            DurationInMinutes=pl.lit(60, pl.Int64),
            IsAllDayEvent=pl.lit(value=False),
            IsChild=pl.lit(value=False),
            IsRecurrence=pl.lit(value=False),
        )

    def programs(self) -> pl.DataFrame:
        ids = _ids("0pp", _PROGRAMS)
        frame = self._dated(ids, np.full(_PROGRAMS, _micros(_NOW) - 1_180 * _DAY))
        return frame.with_columns(Name=pl.Series([f"Program {i:02d}" for i in range(_PROGRAMS)]))

    def members(self) -> pl.DataFrame:
        ids = _ids("0pm", self.n_partners)
        frame = self._dated(ids, np.full(self.n_partners, _micros(_NOW) - 1_170 * _DAY))
        return frame.with_columns(
            PartnerId=pl.Series(self.partner_ids),
            ProgramId=_take(_ids("0pp", _PROGRAMS), np.arange(self.n_partners) % _PROGRAMS),
            LevelId=pl.lit(None, pl.String),
        )

    def _amount(self, deal: Ints) -> pl.Series:
        amounts = pl.Series(self.cents[deal]).cast(_DECIMAL) / 100
        return amounts.cast(_DECIMAL)

    def _when(self, size: int) -> tuple[Ints, Ints]:
        """A deal and an instant of its life, up to now, for each touch."""
        if not self.n:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        deal = self.random.integers(0, self.n, size)
        at = self.created[deal] + (self.life[deal] * self.random.random(size)).astype(np.int64)
        return deal, np.minimum(at, _micros(_NOW) - _DAY) // 1_000_000 * 1_000_000

    def _partner(self, size: int) -> Ints:
        """A partner for each touch; a few have most of them."""
        drawn = np.floor(self.n_partners * self.random.random(size) ** 2).astype(np.int64)
        return np.minimum(drawn, self.n_partners - 1)

    def _dated(self, ids: list[str], created: Ints, modified: Ints | None = None) -> pl.DataFrame:
        seconds = [
            column // 1_000_000 * 1_000_000 for column in (created, created if modified is None else modified)
        ]
        return pl.DataFrame(
            {
                "Id": pl.Series(ids, dtype=pl.String),
                "CreatedDate": pl.Series(seconds[0]).cast(_INSTANT),
                "SystemModstamp": pl.Series(seconds[1]).cast(_INSTANT),
                "IsDeleted": pl.Series(np.zeros(len(ids), dtype=bool)),
            }
        )


def _ids(key_prefix: str, size: int, start: int = 0) -> list[str]:
    """Ids of 18 characters: prefix, number, and the checksum, which only the prefix's capitals decide."""
    bits = sum(1 << at for at, letter in enumerate(key_prefix) if letter.isupper())
    checksum = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[bits] + "AA"
    return [f"{key_prefix}{number:012d}{checksum}" for number in range(start, start + size)]


def _take(names: list[str] | list[str | None], codes: Ints) -> pl.Series:
    return pl.Series(names, dtype=pl.String).gather(codes)


def _micros(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
