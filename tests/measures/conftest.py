"""Deals that several tests of overlays look at."""

from __future__ import annotations

import random

import pytest

import attribution as at
from tests.measures.overlay_rows import NO_TOUCHES, day


@pytest.fixture(scope="module")
def staged() -> at.Deals:
    """d1 goes back once and is won; d2 skips a stage and is open; d3 is unknown for three days, and lost."""
    moves = [
        *(("d1", "Qualify", 0), ("d1", "Propose", 10), ("d1", "Qualify", 14), ("d1", "Negotiate", 20)),
        *(("d1", "Won", 26), ("d2", "Qualify", 0), ("d2", "Negotiate", 5), ("d3", "Propose", 3)),
    ]
    return at.Deals.from_frames(
        {
            "id": ["d1", "d2", "d3"],
            "created_at": [day(0)] * 3,
            "closed_at": [day(26), None, day(9)],
            "is_won": [True, None, False],
            "amount": [1000, 500, 400],
            "currency": ["USD"] * 3,
        },
        NO_TOUCHES,
        {
            "deal_id": [deal for deal, _, _ in moves],
            "stage": [stage for _, stage, _ in moves],
            "entered_at": [day(at) for _, _, at in moves],
        },
        as_of=day(30),
    )


@pytest.fixture(scope="module")
def many() -> tuple[at.Deals, list[dict[str, object]]]:
    """Deals of whole days, so that wins and losses tie, with partners who took part by a meeting."""
    draw = random.Random(4)
    rows, touches = [], []
    for number in range(400):
        created = draw.randrange(0, 400)
        life, fate = draw.randrange(0, 120), draw.choice(["won", "lost", "lost", "open"])
        closed = created + life if fate != "open" and created + life <= 500 else None
        rows.append(
            {
                "id": f"d{number:03}",
                "created": created,
                "closed": closed,
                "won": None if closed is None else fate == "won",
                "amount": None if draw.random() < 0.1 else draw.randrange(100, 100_000) * 100,
                "partners": draw.sample(["Ashgate", "Northgate", "Millridge"], draw.randrange(0, 3)),
                "region": draw.choice(["East", "West"]),
            }
        )
        touches += [(rows[-1]["id"], created, partner) for partner in rows[-1]["partners"]]
    deals = at.Deals.from_frames(
        {
            "id": [row["id"] for row in rows],
            "created_at": [day(row["created"]) for row in rows],
            "closed_at": [None if row["closed"] is None else day(row["closed"]) for row in rows],
            "is_won": [row["won"] for row in rows],
            "amount": [None if row["amount"] is None else f"{row['amount'] / 100:.2f}" for row in rows],
            "currency": ["USD"] * len(rows),
            "region": [row["region"] for row in rows],
        },
        {
            "deal_id": [deal for deal, _, _ in touches],
            "occurred_at": [day(at) for _, at, _ in touches],
            "partner": [partner for _, _, partner in touches],
        },
        as_of=day(500),
        policy=at.Policy(influence_window_days=1_000),
    )
    return deals, rows
