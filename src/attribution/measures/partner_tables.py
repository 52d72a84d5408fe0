"""What only people know of partners, from tables: when they were signed, what they cost, how content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from attribution.columns import OPEN, Party
from attribution.deals import Deals
from attribution.measures.intervals import Floats, Ints

if TYPE_CHECKING:
    import polars

    from attribution.tables import Columns

__all__ = ["STEPS", "Books", "Roster", "leads_of", "margins_of", "read_costs", "read_roster", "scores_of"]

STEPS = ("eql", "mql", "sql", "won")
"""What a lead becomes: ecosystem, marketing and sales qualified, and a won deal."""


@dataclass(frozen=True, slots=True, eq=False)
class Roster:
    """Everybody who is or may become a partner, touchpoints or not; instants, ``OPEN`` for none."""

    parties: tuple[Party, ...]
    """The partners of the snapshot, by code, then those that only the table knows."""
    identified_at: Ints
    signed_at: Ints
    ended_at: Ints

    def codes(self, table: Columns, column: str = "partner") -> Ints:
        """Which of the parties each row of a table names, by id or name; -1 where it names nobody.

        Raises
        ------
        DataError
            For a name that is none of theirs, or that of several.
        """
        named = table.text(column)
        code = _named(self.parties)
        wrong = named.is_not_null() & ~named.is_in([name for name, at in code.items() if at is not None])
        hint = "use ids where names are alike; a partner without touchpoints is to be named in partners"
        table.refuse(column, wrong, "is the name or id of no one partner", hint=hint)
        found: Ints = named.replace_strict(code, default=-1, return_dtype=_int64()).fill_null(-1).to_numpy()
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Books:
    """What partners cost, in minor units of the report currency, up to as_of."""

    partner: Ints
    """Code of the partner; -1: of the programme as a whole."""
    amount: Ints
    unvalued: Ints
    """Code of the partner of each record that has no amount, or no rate for its currency."""
    mapped: tuple[str, ...] = ()
    """Objects of the org that some of it comes from."""

    def of(self, code: int) -> Books:
        """The costs of one partner."""
        mine = self.partner == code
        return Books(self.partner[mine], self.amount[mine], self.unvalued[self.unvalued == code], self.mapped)


def _int64() -> type[polars.Int64]:
    import polars

    return polars.Int64


def read_roster(deals: Deals, table: object) -> Roster:
    """The partners of the snapshot, and those of a table ``partner``, ``identified_at, signed_at, ended_at``.

    What the table says of a partner stands instead of what the snapshot knows.

    Raises
    ------
    DataError
        If the table names one of several partners of that name, or one twice.
    """
    from attribution.tables import Columns

    snapshot = deals.snapshot
    known = [OPEN if at is None else at for at in snapshot.partner_since] or [OPEN] * len(snapshot.partners)
    parties = list(snapshot.partners)
    identified, signed, ended = [OPEN] * len(parties), known, [OPEN] * len(parties)
    if table is not None:
        optional = ("identified_at", "signed_at", "ended_at")
        columns = Columns("partners", table, key="partner", required=("partner",), optional=optional)
        names = columns.text("partner", null=False)
        columns.unique("partner", names)
        dates = [_starts(columns, name, snapshot.zone) for name in optional]
        code = _named(tuple(parties))
        several = names.is_in([name for name, at in code.items() if at is None])
        columns.refuse("partner", several, "is the name of several partners", hint="use their ids")
        for name, *instants in zip(names, *(each.tolist() for each in dates), strict=True):
            if name not in code:
                code[name] = len(parties)
                parties.append(Party(name, name))
                for column in (identified, signed, ended):
                    column.append(OPEN)
            for column, given, instant in zip((identified, signed, ended), optional, instants, strict=True):
                place = code[name]
                if given in columns and place is not None:
                    column[place] = instant
    return Roster(
        tuple(parties), *(_visible(column, snapshot.as_of) for column in (identified, signed, ended))
    )


def _named(parties: tuple[Party, ...]) -> dict[str, int | None]:
    """Which of the parties an id or a name means; None: several."""
    code: dict[str, int | None] = {}
    for at, party in enumerate(parties):
        for name in {party.id, party.name}:
            code[name] = at if name not in code else None
    return code


def _visible(instants: list[int], as_of: int) -> Ints:
    found = np.array(instants, dtype=np.int64)
    found[found > as_of] = OPEN
    return found


def _starts(table: Columns, column: str, zone: str) -> Ints:
    """Instants, or dates, which count from the start of their day; ``OPEN`` where nothing is given."""
    import polars

    from attribution.arrays import day_start
    from attribution.columns import micros

    values = table.rows[column] if column in table else None
    is_text = values is not None and values.dtype == polars.String
    dated = values is not None and (
        values.dtype == polars.Date
        or (
            is_text
            and values.drop_nulls().str.contains(r"^\d{4}-\d\d-\d\d$").all()
            and len(values.drop_nulls()) > 0
        )
    )
    if not dated:
        return micros(table.instants(column))
    days = table.days(column).to_frame("day")
    return micros(days.select(day_start(polars.col("day"), ZoneInfo(zone))).to_series())


def read_costs(deals: Deals, roster: Roster, table: object) -> Books:
    """What mapped objects hold, and beside it the rows of a table.

    The table has ``partner`` (empty: of all), ``amount``; optional ``kind, currency, incurred_at``.
    """
    found = _mapped(deals)
    if table is None:
        return found
    partner, amount = _given(deals, roster, table)
    return replace(
        found,
        partner=np.concatenate([found.partner, partner]),
        amount=np.concatenate([found.amount, amount]),
    )


def _mapped(deals: Deals) -> Books:
    costs = deals.snapshot.costs
    nobody = np.empty(0, dtype=np.int64)
    if costs is None:
        return Books(nobody, nobody, nobody)
    partner = costs.partner.astype(np.int64)
    objects = sorted({id_.partition(b":")[0].decode() for id_ in costs.id.tolist()})
    return Books(partner[costs.valued], costs.amount[costs.valued], partner[~costs.valued], tuple(objects))


def _given(deals: Deals, roster: Roster, table: object) -> tuple[Ints, Ints]:
    """Partner and amount of each row of a table of costs."""
    from attribution.tables import Columns

    optional = ("kind", "currency", "incurred_at")
    columns = Columns("costs", table, key="partner", required=("partner", "amount"), optional=optional)
    currency = columns.text("currency")
    columns.refuse(
        "currency",
        (currency != deals.currency).fill_null(value=False),
        f"is not {deals.currency}, in which amounts are reported",
        hint="convert costs first, at the rates that your finance team uses",
    )
    amount = columns.minor_units("amount", deals.currency)
    columns.refuse("amount", amount.is_null(), "nothing is given, and it must be", shown=False)
    incurred = _starts(columns, "incurred_at", deals.snapshot.zone)
    seen = (incurred <= deals.snapshot.as_of) | (incurred == OPEN)
    return roster.codes(columns)[seen], amount.to_numpy()[seen]


def margins_of(deals: Deals, margins: object) -> Floats | None:
    """Margin per deal of the snapshot, in minor units, NaN where none is known; None: no margins were given.

    ``margins`` is a share of every amount, or a table ``deal_id``, ``margin`` (an amount).
    """
    from attribution.errors import UsageError
    from attribution.tables import Columns

    columns = deals.snapshot.deals
    if margins is None:
        return None
    if isinstance(margins, int | float):
        if not 0 < margins <= 1:
            raise UsageError(f"a margin of {margins}", hint="give a share of the amount, such as 0.7")
        return np.where(columns.valued, columns.amount * float(margins), np.nan)
    table = Columns("margins", margins, key="deal_id", required=("deal_id", "margin"), optional=())
    ids = table.text("deal_id", null=False)
    table.unique("deal_id", ids)
    minor = table.minor_units("margin", deals.currency)
    by_id = dict(zip(ids, minor, strict=True))
    given = [by_id.get(id_.decode()) for id_ in columns.id.tolist()]
    return np.array([np.nan if each is None else each for each in given], dtype=np.float64)


def scores_of(roster: Roster, table: object) -> tuple[Ints, Floats]:
    """Partner and score of each row of a table ``partner``, ``score``."""
    import polars

    from attribution.tables import Columns

    columns = Columns("satisfaction", table, key="partner", required=("partner", "score"), optional=())
    score = columns.rows["score"].cast(polars.Float64, strict=False)
    columns.refuse("score", score.is_null() | ~score.is_finite(), "is no number")
    return roster.codes(columns), score.to_numpy()


def leads_of(deals: Deals, table: object) -> dict[str, Ints]:
    """When each lead became what: columns ``eql_at, mql_at, sql_at, won_at`` of a table with ``id``."""
    from attribution.tables import Columns

    optional = tuple(f"{step}_at" for step in STEPS)
    columns = Columns("leads", table, key="id", required=("id",), optional=optional)
    columns.unique("id", columns.text("id", null=False))
    found = {}
    for step in STEPS:
        instants = _starts(columns, f"{step}_at", deals.snapshot.zone)
        found[step] = np.where(instants > deals.snapshot.as_of, OPEN, instants)
    return found
