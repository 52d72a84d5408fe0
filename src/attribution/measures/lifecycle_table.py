"""How a lifecycle is shown."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from attribution.measures.results import Row, Table, aligned, html_table, spelled, told_apart

__all__ = ["Lifecycle"]

_SHOWN = ("metric", "n", "value", "low", "high", "unit", "note")
_NUMERIC = ("n", "value", "low", "high")
_PARTNERS = 12
"""Partners that a page shows."""
_OF_PARTNER = (
    ("handed over", "handed_over_deals", "value"),
    ("open", "handed_over_open_deals", "value"),
    ("cost", "cost", "value"),
    ("return, low", "return_on_investment", "low"),
    ("return, high", "return_on_investment", "high"),
    ("customers", "customer_lifetime_value", "n"),
    ("value of one", "customer_lifetime_value", "value"),
    ("satisfaction", "satisfaction", "value"),
)
"""Columns of the table of partners: title, metric, and which of its figures."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lifecycle(Table):
    """A row per metric, of all partners or of one; an absent figure is None."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: amounts as decimal strings, instants as ISO 8601 in UTC."""
        return Table.to_dict(self) | {"target": spelled(self.head["target"], self.head["currency"])}

    def _title(self) -> str:
        as_of = self.head["as_of"].isoformat().replace("+00:00", "Z")
        return f"lifecycle of partners: as of {as_of}, amounts in {self.head['currency']}"

    def to_text(self, rows: int | None = None) -> str:
        """The page for people: figures of all partners, then of the first ``rows`` of them (default: 12)."""
        lines = [self._title(), *aligned(*self._text(), [each in _NUMERIC for each in _SHOWN])]
        shown, body = self._partners()
        if body:
            limit = _PARTNERS if rows is None else rows
            lines += ["", *aligned(shown, body[:limit], [False, *(True for _ in shown[1:])])]
            if len(body) > limit:
                lines.append(f"… and {len(body) - limit:,} more partners; every figure is in the rows")
        return "\n".join(line.rstrip() for line in (*lines, "", *self._noted()))

    def _repr_html_(self) -> str:
        shown, body = self._partners()
        beside = html_table("by partner", shown, body[:_PARTNERS]) if body else ""
        return Table._repr_html_(self) + beside

    def _text(self) -> tuple[list[str], list[list[str]]]:
        rows = [row for row in self.rows if row["partner_id"] is None]
        return list(_SHOWN), [[_cell(row, name) for name in _SHOWN] for row in rows]

    def _partners(self) -> tuple[list[str], list[list[str]]]:
        """A line per partner, those that won most customers first; a star where few are behind a figure."""
        found: dict[str, dict[str, Row]] = {}
        for row in self.rows:
            if row["partner_id"] is not None:
                found.setdefault(row["partner_id"], {})[row["metric"]] = row

        def rank(each: dict[str, Row]) -> tuple[float, float, str]:
            customers, cost = each.get("customer_lifetime_value"), each.get("cost")
            name: str = next(iter(each.values()))["partner"]
            return -(customers["n"] if customers else 0), -(cost["value"] or 0 if cost else 0), name

        order = sorted(found.values(), key=rank)
        told = {row["metric"] for each in order for row in each.values()}
        columns = [column for column in _OF_PARTNER if column[1] in told]
        firsts = [next(iter(each.values())) for each in order]
        names = told_apart([(row["partner"], row["partner_id"]) for row in firsts])
        body = [
            [name, *(_starred(each.get(metric), figure) for _, metric, figure in columns)]
            for name, each in zip(names, order, strict=True)
        ]
        return ["partner", *(title for title, _, _ in columns)], body

    def _notes(self) -> list[tuple[str, str]]:
        notes = [(row["metric"], row["note"]) for row in self.rows if row["partner_id"] is None]
        plainly = [(name, note.removeprefix("insufficient; ")) for name, note in notes]
        if any(row["note"].startswith("insufficient") for row in self.rows if row["partner_id"] is not None):
            plainly.append(("*", "rests on fewer than 10"))
        return [*plainly, *Table._notes(self)]


def _starred(row: Row | None, name: str) -> str:
    if row is None or row[name] is None:
        return "-"
    return _cell(row, name) + ("*" if row["note"].startswith("insufficient") and name != "n" else "")


def _cell(row: Row, name: str) -> str:
    value = row[name]
    if name in ("value", "low", "high"):
        if value is None:
            return "-"
        match row["unit"]:
            case "share":
                return f"{value:.1%}"
            case "days":
                return f"{value:,.1f}"
            case "deals" | "partners":
                return f"{ceil(value):,}"
            case _:
                return f"{value:,.2f}"
    if name == "note":
        # what it is stands below; here only whether to believe it
        return "insufficient" if value.startswith("insufficient") else ""
    return f"{value:,}" if name == "n" else str(value)
