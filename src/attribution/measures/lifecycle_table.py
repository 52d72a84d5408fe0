"""How a lifecycle is shown."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from attribution.measures.results import Row, Table, spelled

__all__ = ["Lifecycle"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lifecycle(Table):
    """A row per metric, of all partners or of one; an absent figure is None."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: amounts as decimal strings, instants as ISO 8601 in UTC."""
        return Table.to_dict(self) | {"target": spelled(self.head["target"], self.head["currency"])}

    def _title(self) -> str:
        as_of = self.head["as_of"].isoformat().replace("+00:00", "Z")
        return f"lifecycle of partners: as of {as_of}, amounts in {self.head['currency']}"

    def _text(self) -> tuple[list[str], list[list[str]]]:
        shown = ["metric", "partner", "n", "value", "low", "high", "unit", "note"]
        return shown, [[_cell(row, name) for name in shown] for row in self.rows]

    def _notes(self) -> list[tuple[str, str]]:
        notes = [(row["metric"], row["note"]) for row in self.rows if row["partner_id"] is None]
        plainly = [(name, note.removeprefix("insufficient; ")) for name, note in notes]
        return [*plainly, *Table._notes(self)]


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
