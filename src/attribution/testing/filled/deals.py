"""The opportunities of a filled store, with their histories."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from attribution.arrays import DECIMAL
from attribution.testing.filled.base import DAY, INTERNAL_USERS, Base, Frames, Ints, take

__all__ = ["Deals"]

_STAGES: Final = (
    ("Prospecting", False, False),
    ("Qualification", False, False),
    ("Needs Analysis", False, False),
    ("Proposal", False, False),
    ("Negotiation", False, False),
    ("Closed Won", True, True),
    ("Closed Lost", True, False),
)
_LABELS: Final = [label for label, _, _ in _STAGES]
_WON, _LOST = 5, 6
_RECORD_TYPES: Final = ("New_Business", "Expansion", "Renewal", "Pilot", "Internal")
_LOOKUPS: Final = ("Referring_Partner__c", "Implementation_Partner__c")


class Deals:
    """The draws behind the opportunities."""

    def __init__(self, base: Base) -> None:
        self.base, self.n = base, base.n
        draw = base.random
        self.ids = base.ids("006", self.n)
        self.customer = base.between(0, base.n_customers, self.n)
        self.owner = base.between(0, INTERNAL_USERS, self.n)
        self.created = base.now - base.between(30 * DAY, 1_100 * DAY, self.n)
        self.life = base.between(5 * DAY, 200 * DAY, self.n)
        self.cents = np.round(np.exp(draw.normal(9.5, 1.2, self.n)) * 100).astype(np.int64)
        closes = self.created + self.life <= base.now - DAY
        fate = np.where(base.share(self.n, 0.35), _WON, _LOST)
        self.stage = np.where(closes, fate, base.between(0, _WON, self.n))
        self.lookups = [np.where(base.share(self.n, part), base.partner(self.n), -1) for part in (0.06, 0.1)]
        self.tracked = [(partner >= 0) & base.share(self.n, 0.5) for partner in self.lookups]

    def when(self, size: int) -> tuple[Ints, Ints]:
        """A deal and an instant of its life, up to now, for each of so many touches."""
        if not self.n:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        deal = self.base.between(0, self.n, size)
        at = self.created[deal] + (self.life[deal] * self.base.random.random(size)).astype(np.int64)
        return deal, np.minimum(at, self.base.now - DAY)

    def frames(self) -> Frames:
        """Rows by object, as the mirror holds them."""
        return {
            "OpportunityStage": self._stages,
            "RecordType": self._record_types,
            "Opportunity": self._opportunities,
            "OpportunityHistory": self._history,
            "OpportunityFieldHistory": self._field_history,
        }

    def _stages(self) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "Id": self.base.ids("01J", len(_STAGES)),
                "ApiName": _LABELS,
                "MasterLabel": _LABELS,
                "IsActive": [True] * len(_STAGES),
                "SortOrder": list(range(1, len(_STAGES) + 1)),
                "IsClosed": [closed for _, closed, _ in _STAGES],
                "IsWon": [won for _, _, won in _STAGES],
            }
        )

    def _record_types(self) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "Id": self.base.ids("012", len(_RECORD_TYPES)),
                "DeveloperName": list(_RECORD_TYPES),
                "SystemModstamp": self.base.instants(
                    np.full(len(_RECORD_TYPES), self.base.now - 1_180 * DAY)
                ),
            }
        )

    def _opportunities(self) -> pl.DataFrame:
        base, n = self.base, self.n
        closed_at, closed = self.created + self.life, self.stage >= _WON
        by_partner = INTERNAL_USERS + base.between(0, base.n_partners, n)
        author = np.where(base.share(n, 0.03), by_partner, self.owner)
        kind = base.random.choice(len(_RECORD_TYPES), n, p=[0.5, 0.2, 0.2, 0.09, 0.01])
        currency = base.random.choice(3, n, p=[0.7, 0.2, 0.1])
        frame = base.dated(self.ids, self.created, np.where(closed, closed_at, self.created))
        return frame.with_columns(
            Name=pl.lit("Deal ") + pl.int_range(pl.len()).cast(pl.String).str.zfill(7),
            AccountId=take(base.customer_ids, self.customer),
            OwnerId=take(base.users, self.owner),
            CreatedById=take(base.users, author),
            StageName=take(_LABELS, self.stage),
            IsClosed=pl.Series(closed),
            IsWon=pl.Series(self.stage == _WON),
            Amount=self._amount(np.arange(n)),
            CloseDate=base.days(closed_at),
            CurrencyIsoCode=take(["USD", "EUR", "JPY"], currency),
            RecordTypeId=take(base.ids("012", len(_RECORD_TYPES)), kind),
            LeadSource=take(["Web", "Partner", "Outbound", None], base.between(0, 4, n)),
            PartnerAccountId=pl.lit(None, pl.String),
            Industry__c=take(["Retail", "Health", "Energy", "Schools", None], self.customer % 5),
            Is_Strategic__c=pl.Series(base.share(n, 0.1)),
            **{
                name: take(base.partner_ids, partner)
                for name, partner in zip(_LOOKUPS, self.lookups, strict=True)
            },
        )

    def _history(self) -> pl.DataFrame:
        """Four rows of open stages at most, evenly over the deal's life, and one where it was closed."""
        base = self.base
        steps, closed = base.between(1, 5, self.n), self.stage >= _WON
        rows = steps + closed
        deal = np.repeat(np.arange(self.n), rows)
        step = np.arange(len(deal)) - np.repeat(np.cumsum(rows) - rows, rows)
        at = self.created[deal] + self.life[deal] * step // np.maximum(steps[deal], 1)
        stage = np.where(step == steps[deal], self.stage[deal], step)
        frame = base.dated(base.ids("008", len(deal)), np.minimum(at, base.now))
        return frame.with_columns(
            OpportunityId=take(self.ids, deal),
            StageName=take(_LABELS, stage),
            ForecastCategory=pl.lit(None, pl.String),
            Probability=pl.lit(None, DECIMAL),
            Amount=self._amount(deal),
            CloseDate=base.days(self.created[deal] + self.life[deal]),
        )

    def _field_history(self) -> pl.DataFrame:
        """Half of the lookups were filled some days after the deal was created."""
        base = self.base
        deal = np.concatenate([np.flatnonzero(tracked) for tracked in self.tracked])
        field = np.repeat([0, 1], [int(tracked.sum()) for tracked in self.tracked])
        partner = np.concatenate(
            [partner[tracked] for partner, tracked in zip(self.lookups, self.tracked, strict=True)]
        )
        at = np.minimum(self.created[deal] + base.between(0, 25 * DAY, len(deal)), base.now - DAY)
        frame = base.dated(base.ids("017", len(deal)), at).drop("SystemModstamp")
        return frame.with_columns(
            CreatedById=take(base.users, self.owner[deal]),
            OpportunityId=take(self.ids, deal),
            Field=take(_LOOKUPS, field),
            OldValue=pl.lit(None, pl.String),
            NewValue=take(base.partner_ids, partner),
        )

    def _amount(self, deal: Ints) -> pl.Series:
        return (pl.Series(self.cents[deal]).cast(DECIMAL) / 100).cast(DECIMAL)
