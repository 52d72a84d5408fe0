"""The partners that the table of touchpoints names, and what they roll up to."""

from __future__ import annotations

import numpy as np
import polars as pl

from attribution.arrays import Codes
from attribution.columns import Bools, Party
from attribution.errors import DataError
from attribution.tables import Columns

__all__ = ["parents_of", "partners_of"]


def partners_of(table: Columns, direct: Bools) -> tuple[Codes, tuple[Party, ...], Codes]:
    """Code of the partner per row, whom the codes mean, and the code of the name per row."""
    called, names = table.coded("partner")
    nobody = pl.Series((called < 0) & ~direct)
    table.refuse(
        "partner", nobody, "nobody is named", hint="a touch without a partner is direct: say so in is_direct"
    )
    partner, ids = called, names
    if "partner_id" in table:
        partner, ids = table.coded("partner_id")
        nobody = pl.Series((partner < 0) & ~direct)
        table.refuse("partner_id", nobody, "nothing is given, though a partner is named")
    parent, above = table.coded("parent")
    name_of = _one_per(table, "partner", partner, ids, called, names)
    parent_of = _one_per(table, "parent", partner, ids, parent, above)
    website_of = _one_per(table, "website", partner, ids, *table.coded("website"))

    of_name: dict[str, str | None] = {}
    for code, name in name_of.items():
        of_name[name] = None if name in of_name else ids[code]  # a name of two is no reference
    known_ids = {ids[code] for code in name_of}
    parties: list[Party] = []
    for code, identity in enumerate(ids):
        up = parent_of.get(code)
        if up is not None and up not in known_ids:
            up = of_name.get(up) or up
        above_it = None if up == identity else up
        parties.append(Party(identity, name_of.get(code, identity), above_it, website_of.get(code)))
    _refuse_circle(table, parties)
    return partner, tuple(parties), called


def _refuse_circle(table: Columns, parties: list[Party]) -> None:
    """Refuse parents of which one is, over others, its own."""
    above = {party.id: party.parent_id for party in parties if party.parent_id is not None}
    while above:
        start, up = above.popitem()
        line = [start]
        while up in above:
            line.append(up)
            up = above.pop(up)
        if up in line:
            circle = " under ".join([*line[line.index(up) :], up])
            raise DataError(
                f"touchpoints: column 'parent': {circle} is a circle",
                hint="leave the parent of the topmost empty",
            )


def _one_per(
    table: Columns, column: str, partner: Codes, ids: tuple[str, ...], value: Codes, names: tuple[str, ...]
) -> dict[int, str]:
    """The one value of a column that each partner has, by the partner's code; null is no value."""
    if value is partner:
        return dict(enumerate(names))
    given = np.flatnonzero((partner >= 0) & (value >= 0))
    pairs = pl.Series(partner[given].astype(np.int64) * len(names) + value[given]).unique().sort()
    found: dict[int, str] = {}
    for code, at in (divmod(pair, len(names)) for pair in pairs):
        if code in found:
            row = int(given[np.argmax((partner[given] == code) & (value[given] == at))])
            what = f"and {found[code]!r} are both given for {ids[code]!r}"
            table.fail(column, row, what, "one partner has one: correct the others")
        found[code] = names[at]
    return found


def parents_of(everybody: tuple[Party, ...], partners: tuple[Party, ...]) -> tuple[Party, ...]:
    """Parents of these partners, and theirs, that are not among them."""
    party_of = {party.id: party for party in everybody}
    found = {party.id: party for party in partners}
    wanted = [party.parent_id for party in partners]
    while wanted:
        above = wanted.pop()
        if above is not None and above not in found:
            found[above] = party_of.get(above, Party(above, above))
            wanted.append(found[above].parent_id)
    return tuple(found[above] for above in sorted(found.keys() - {party.id for party in partners}))
