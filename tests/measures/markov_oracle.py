"""Removal effects by definition, in exact fractions: remove a partner, and solve the chain again."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple


class Walk(NamedTuple):
    path: tuple[str, ...]
    won: bool
    value: int = 0


def states_of(path: tuple[str, ...], order: int) -> list[tuple[str, ...]]:
    return [path[at : at + order] for at in range(max(1, len(path) - order + 1))]


def gain(walks: list[Walk], order: int, without: str | None, worth: bool) -> Fraction:
    """Expected wins (``worth``: amount) per walk, every state with ``without`` leading to (lost)."""
    states = sorted({state for walk in walks for state in states_of(walk.path, order)})
    number = {state: at for at, state in enumerate(states)}
    visits = [0] * len(states)
    moves = [[Fraction(0)] * len(states) for _ in states]
    earned, starts = [Fraction(0)] * len(states), [Fraction(0)] * len(states)
    for walk in walks:
        at = [number[state] for state in states_of(walk.path, order)]
        starts[at[0]] += Fraction(1, len(walks))
        for here in at:
            visits[here] += 1
        for here, there in pairwise(at):
            moves[here][there] += 1
        if walk.won:
            earned[at[-1]] += walk.value if worth else 1
    rows = []
    for here, state in enumerate(states):
        gone = without in state
        row = [
            Fraction(int(here == there)) - (0 if gone else moves[here][there] / visits[here])
            for there in range(len(states))
        ]
        rows.append([*row, Fraction(0) if gone else earned[here] / visits[here]])
    return sum((start * each for start, each in zip(starts, solve(rows), strict=True)), Fraction(0))


def solve(rows: list[list[Fraction]]) -> list[Fraction]:
    """Gauss-Jordan; the last column is the right-hand side."""
    n = len(rows)
    for column in range(n):
        pivot = next(at for at in range(column, n) if rows[at][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for at in range(n):
            factor = rows[at][column]
            if at != column and factor:
                rows[at] = [a - factor * b for a, b in zip(rows[at], rows[column], strict=True)]
    return [row[-1] for row in rows]


def effects(walks: list[Walk], order: int, worth: bool = False) -> dict[str, Fraction]:
    """Removal effect by partner; 0 for all if nothing is gained."""
    partners = {partner for walk in walks for partner in walk.path}
    whole = gain(walks, order, None, worth)
    if not whole:
        return dict.fromkeys(partners, Fraction(0))
    return {partner: 1 - gain(walks, order, partner, worth) / whole for partner in partners}


def text(walk: Walk, end: int = 50) -> str:
    touches = " ".join(f"{partner}@{at}" for at, partner in enumerate(walk.path))
    return f"{touches} {'won' if walk.won else 'lost'}@{end} {walk.value}.00 USD"
