"""Who there is in a filled store: the organization, accounts, contacts, users, programs, currencies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attribution.arrays import DECIMAL, INSTANT

__all__ = ["DAY", "INTERNAL_USERS", "PROGRAMS", "Base", "Frames", "Ints", "take"]

DAY: Final = 86_400_000_000
"""Microseconds of 24 hours."""
INTERNAL_USERS, PROGRAMS = 60, 12
_LEVELS = ("Registered", "Silver", "Gold")
_RATES = {"USD": "1", "EUR": "0.92", "JPY": "149.5"}

Ints = NDArray[np.int64]
Frames = dict[str, Callable[[], pl.DataFrame]]


def take(names: pl.Series | Sequence[str | None], codes: Ints) -> pl.Series:
    """One name per code; a negative code is null."""
    series = names if isinstance(names, pl.Series) else pl.Series(names, dtype=pl.String)
    rows = pl.Series(codes)
    if len(codes) and int(codes.min()) < 0:
        rows = pl.select(pl.when(rows >= 0).then(rows)).to_series()
    return series.gather(rows)


class Base:
    """The draws behind the accounts, and small things that every frame needs."""

    def __init__(self, now: datetime, opportunities: int, seed: int, partners: int) -> None:
        self.now = (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        self.random = np.random.default_rng(seed)
        self.n, self.n_partners = opportunities, partners
        self.n_customers = max(opportunities // 3, 1)
        self.partner_ids = self.ids("001", partners)
        self.customer_ids = self.ids("001", self.n_customers, partners)
        self.users = self.ids("005", INTERNAL_USERS + partners)
        self.n_partner_contacts = 4 * partners
        """Contact i is of partner i modulo their number; the customers' contacts follow, two for each."""
        self.contacts = self.ids("003", self.n_partner_contacts + 2 * self.n_customers)

    def ids(self, key_prefix: str, size: int, start: int = 0) -> pl.Series:
        """Ids of 18 characters: prefix, number, and the checksum, which only the prefix's capitals decide."""
        bits = sum(1 << at for at, letter in enumerate(key_prefix) if letter.isupper())
        checksum = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[bits] + "AA"
        number = pl.int_range(start, start + size).cast(pl.String).str.zfill(12)
        return pl.select(Id=pl.concat_str(pl.lit(key_prefix), number, pl.lit(checksum))).to_series()

    def share(self, size: int, part: float) -> NDArray[np.bool_]:
        """Whether each of so many belongs to a part of them."""
        drawn: NDArray[np.bool_] = self.random.random(size) < part
        return drawn

    def between(self, low: int, high: int, size: int) -> Ints:
        """Draw whole numbers, the upper end excluded."""
        return self.random.integers(low, max(high, low + 1), size)

    def partner(self, size: int) -> Ints:
        """A partner for each; a few have most of them."""
        drawn = np.floor(self.n_partners * self.random.random(size) ** 2).astype(np.int64)
        return np.minimum(drawn, self.n_partners - 1)

    def partner_contact(self, partner: Ints) -> Ints:
        """A contact of each partner."""
        return partner + self.n_partners * self.between(0, 4, len(partner))

    def customer_contact(self, customer: Ints) -> Ints:
        """A contact of each customer."""
        return self.n_partner_contacts + 2 * customer + self.between(0, 2, len(customer))

    def dated(self, ids: pl.Series, at: Ints | int, modified: Ints | None = None) -> pl.DataFrame:
        """Id, stamps and IsDeleted of the rows of an object."""
        created = np.broadcast_to(np.asarray(at, dtype=np.int64), len(ids))
        stamps = created if modified is None else np.maximum(created, modified)
        return pl.DataFrame(
            {
                "Id": ids,
                "CreatedDate": self.instants(created),
                "SystemModstamp": self.instants(stamps),
                "IsDeleted": pl.repeat(False, len(ids), dtype=pl.Boolean, eager=True),
            }
        )

    @staticmethod
    def instants(micros: Ints) -> pl.Series:
        """Whole seconds."""
        return pl.Series(micros // 1_000_000 * 1_000_000).cast(INSTANT)

    @staticmethod
    def days(micros: Ints) -> pl.Series:
        """The days of instants."""
        return pl.Series(micros).cast(INSTANT).dt.date()

    def frames(self) -> Frames:
        """Rows by object, as the mirror holds them."""
        return {
            "Organization": self._organization,
            "CurrencyType": self._currencies,
            "DatedConversionRate": self._rates,
            "Account": self._accounts,
            "User": self._people,
            "Contact": self._contacts,
            "ChannelProgram": self._programs,
            "ChannelProgramLevel": self._levels,
            "ChannelProgramMember": self._members,
        }

    def _organization(self) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "Id": self.ids("00D", 1),
                "Name": ["Filled"],
                "TimeZoneSidKey": ["America/New_York"],
                "FiscalYearStartMonth": [1],
                "UsesStartDateAsFiscalYearName": [False],
                "IsSandbox": [True],
            }
        )

    def _currencies(self) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "Id": self.ids("01L", len(_RATES)),
                "IsoCode": list(_RATES),
                "ConversionRate": pl.Series([Decimal(rate) for rate in _RATES.values()], dtype=DECIMAL),
                "IsCorporate": [code == "USD" for code in _RATES],
                "IsActive": [True] * len(_RATES),
            }
        )

    def _rates(self) -> pl.DataFrame:
        starts = [date(2022, 1, 1) + timedelta(days=91 * quarter) for quarter in range(24)]
        rows = [
            (code, Decimal(rate) + Decimal(number) / 1000, start, start + timedelta(days=91))
            for code, rate in _RATES.items()
            if code != "USD"
            for number, start in enumerate(starts)
        ]
        schema = {
            "IsoCode": pl.String(),
            "ConversionRate": DECIMAL,
            "StartDate": pl.Date(),
            "NextStartDate": pl.Date(),
        }
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame.insert_column(0, self.ids("04w", len(rows)))

    def _accounts(self) -> pl.DataFrame:
        """Partners by flag, every fifth by type; every tenth belongs to the one before it."""
        size = self.n_partners + self.n_customers
        number = np.arange(size)
        is_partner = number < self.n_partners
        parent = np.where(is_partner & (number % 10 == 9), number - 1, -1)
        label = pl.Series(np.where(is_partner, number, number - self.n_partners)).cast(pl.String)
        named = pl.when(pl.Series(is_partner)).then(pl.lit("Partner ") + label.str.zfill(3))
        frame = self.dated(pl.concat([self.partner_ids, self.customer_ids]), self.now - 1_200 * DAY)
        return frame.with_columns(
            Name=named.otherwise(pl.lit("Customer ") + label.str.zfill(6)),
            Type=take(["Partner", "Consultant", "Customer"], np.where(is_partner, number % 5 > 0, 2)),
            IsPartner=pl.Series(is_partner & (number % 5 > 0)),
            ParentId=take(self.partner_ids, parent),
            MasterRecordId=pl.lit(None, pl.String),
        )

    def _people(self) -> pl.DataFrame:
        contact = np.arange(len(self.users)) - INTERNAL_USERS
        frame = self.dated(self.users, self.now - 1_150 * DAY).drop("IsDeleted")
        return frame.with_columns(ContactId=take(self.contacts, np.maximum(contact, -1)))

    def _contacts(self) -> pl.DataFrame:
        number = np.arange(len(self.contacts))
        customer = (number - self.n_partner_contacts) // 2
        account = np.where(customer < 0, number % self.n_partners, self.n_partners + customer)
        frame = self.dated(self.contacts, self.now - 1_150 * DAY)
        return frame.with_columns(
            AccountId=take(pl.concat([self.partner_ids, self.customer_ids]), account),
            MasterRecordId=pl.lit(None, pl.String),
        )

    def _programs(self) -> pl.DataFrame:
        frame = self.dated(self.ids("0pp", PROGRAMS), self.now - 1_180 * DAY)
        return frame.with_columns(Name=pl.Series([f"Program {i:02d}" for i in range(PROGRAMS)]))

    def _levels(self) -> pl.DataFrame:
        rank = np.arange(PROGRAMS * len(_LEVELS))
        frame = self.dated(self.ids("0pl", len(rank)), self.now - 1_180 * DAY)
        return frame.with_columns(
            ProgramId=take(self.ids("0pp", PROGRAMS), rank // len(_LEVELS)),
            Name=take(_LEVELS, rank % len(_LEVELS)),
            Rank=pl.Series(rank % len(_LEVELS) + 1),
        )

    def _members(self) -> pl.DataFrame:
        number = np.arange(self.n_partners)
        program = number % PROGRAMS
        frame = self.dated(self.ids("0pm", self.n_partners), self.now - 1_170 * DAY)
        return frame.with_columns(
            PartnerId=self.partner_ids,
            ProgramId=take(self.ids("0pp", PROGRAMS), program),
            LevelId=take(self.ids("0pl", PROGRAMS * len(_LEVELS)), program * len(_LEVELS) + number % 3),
        )
