"""Overlays: stages worked by hand, every figure against slow arithmetic, identities, and the page."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict

import numpy as np
import pytest

import attribution as at
from tests.measures.overlay_rows import NO_TOUCHES, day, of
from tests.measures.test_estimators import exact_incidence
from tests.notation import path

# --- days in stage, by hand --------------------------------------------------------------------------------


def test_days_in_stage_by_hand(staged):
    overlay = at.velocity(staged, by="deal_type", baseline="all", bootstrap=0)

    def days(stage: str, variant: str) -> object:
        return of(overlay, "days_in_stage", variant, stage=stage)["value"]

    # d1 was 10 + 6 days in Qualify, d2 5
    assert days("Qualify", "mean") == pytest.approx((16 + 5) / 2)
    assert days("Qualify", "first_mean") == pytest.approx((10 + 5) / 2)
    assert days("Qualify", "median") == 5
    # d2 skipped Propose: it is absent there, and not 0
    assert days("Propose", "mean") == pytest.approx((4 + 6) / 2)
    assert of(overlay, "days_in_stage", "mean", stage="Propose")["n"] == 2
    # d1 left Negotiate after 6 days; d2 is in it for 25: S falls to 1/2 at 6, and stays
    assert days("Negotiate", "median") == 6
    assert days("Negotiate", "mean") == pytest.approx(6 + (365 - 6) / 2)
    assert days("(unknown)", "mean") == 3
    assert {row["stage"] for row in overlay.rows} == {None, "(unknown)", "Qualify", "Propose", "Negotiate"}


def test_one_open_deal_does_not_change_the_scale_of_a_difference():
    ids = [f"{group}{number:02}" for group in "AB" for number in range(40)]
    closed = {deal: None if deal == "B00" else day(500 + int(deal[1:])) for deal in ids}
    deals = at.Deals.from_frames(
        {
            "id": ids,
            "created_at": [day(0)] * 80,
            "closed_at": list(closed.values()),
            "is_won": [None if each is None else True for each in closed.values()],
            "group": [deal[0] for deal in ids],
        },
        NO_TOUCHES,
        {"deal_id": ids, "stage": ["Qualify"] * 80, "entered_at": [day(0)] * 80},
        as_of=day(600),
    )
    overlay = at.velocity(deals, by="group", baseline="all", bootstrap=0)
    for variant in ("mean", "first_mean"):
        ended, waits = (of(overlay, "days_in_stage", variant, group=group) for group in "AB")
        assert (ended["value"], waits["value"], waits["baseline"]) == (pytest.approx(519.5), 365, 365)
        assert (ended["difference"], ended["difference_low"]) == (None, None)
        assert ended["note"] == "other horizon"
        assert (waits["difference"], waits["note"]) == (0, None)
    # a median is the same whatever is still open
    assert of(overlay, "days_in_stage", "median", group="A")["difference"] is not None


def test_conversion_leaves_out_who_may_still_move_on(staged):
    overlay = at.velocity(staged, by="deal_type", baseline="all", bootstrap=0)
    found = {
        row["stage"]: (row["value"], row["n"]) for row in overlay.rows if row["metric"] == "stage_conversion"
    }
    # Propose: d1 went on, d3 was lost there; Negotiate: d1 was won, d2 may still be
    assert found == {"(unknown)": (1, 1), "Qualify": (1, 2), "Propose": (0.5, 2), "Negotiate": (1, 1)}


def test_moves_backward_are_counted(staged):
    overlay = at.velocity(staged, by="deal_type", baseline="all", bootstrap=0)
    assert of(overlay, "backward_moves", "per_deal")["value"] == pytest.approx(1 / 3)
    # nothing tells of close dates here: absent, and not 0
    assert not [row for row in overlay.rows if row["metric"] == "close_date_pushes"]


def test_at_an_earlier_instant_later_moves_are_not_seen(staged):
    before = at.Deals.from_frames(
        {"id": ["d1"], "created_at": [day(0)], "closed_at": [day(26)], "is_won": [True]},
        NO_TOUCHES,
        {"deal_id": ["d1", "d1"], "stage": ["A", "B"], "entered_at": [day(0), day(10)]},
        as_of=day(4),
    )
    overlay = at.velocity(before, by="deal_type", baseline="all", bootstrap=0)
    assert {row["stage"] for row in overlay.rows} == {None, "A"}
    # the only stay has not ended: its mean is not known
    assert of(overlay, "days_in_stage", "mean", stage="A")["value"] is None


def test_without_stages_there_is_nothing_of_them():
    deals = path("ann@0 won@10 1.00 USD")
    overlay = at.velocity(deals, by="deal_type", baseline="all", bootstrap=0)
    assert {row["stage"] for row in overlay.rows} == {None}


def test_a_lost_and_reopened_deal_leaves_the_days_between_out():
    deals = at.Deals.from_frames(
        {"id": ["d"], "created_at": [day(0)], "closed_at": [day(40)], "is_won": [True]},
        NO_TOUCHES,
        {
            "deal_id": ["d"] * 3,
            "stage": ["Propose", "Lost", "Propose"],
            "entered_at": [day(0), day(10), day(30)],
            "is_closed": [False, True, False],
        },
        as_of=day(50),
    )
    overlay = at.velocity(deals, by="deal_type", baseline="all", bootstrap=0)
    assert of(overlay, "days_in_stage", "mean")["value"] == 10 + 10
    assert {row["stage"] for row in overlay.rows} == {None, "Propose"}


# --- every figure, slowly ----------------------------------------------------------------------------------


def slowly(rows: list[dict[str, object]]) -> dict[tuple[str, str], float | None]:
    """Every figure of these deals, one after the other."""
    won = [row for row in rows if row["won"]]
    decided = [row for row in rows if row["won"] is not None]
    sizes = [row["amount"] / 100 for row in won if row["amount"] is not None]
    days = [row["closed"] - row["created"] for row in won]
    pairs = [
        (
            (500 if row["closed"] is None else row["closed"]) - row["created"],
            {None: 0, True: 1, False: 2}[row["won"]],
        )
        for row in rows
    ]
    incidence = exact_incidence(pairs)
    before, area, reached, now = 0, 0.0, None, 0.0
    for time, value in incidence.items():
        if time <= 60:
            area += now * (time - before)
            before, now = time, float(value)
        if reached is None and value * 2 >= 1:
            reached = time
    area += now * (60 - before)
    low, high = np.quantile(sizes, [0.025, 0.975])
    amounts = [
        sum(row["amount"] / 100 for row in which if row["amount"] is not None) for which in (won, decided)
    ]
    cycle = statistics.fmean(days)
    return {
        ("close_rate", "period_count"): len(won) / len(decided),
        ("close_rate", "period_amount"): amounts[0] / amounts[1],
        ("close_rate", "cohort_count"): len(won) / len(rows),
        ("deal_size", "mean"): statistics.fmean(sizes),
        ("deal_size", "median"): statistics.median(sizes),
        ("deal_size", "winsorised"): statistics.fmean(min(max(size, low), high) for size in sizes),
        ("days_to_close", "usual"): cycle,
        ("days_to_close", "won_mean"): cycle,
        ("days_to_close", "won_median"): statistics.median(days),
        ("days_to_close", "incidence_median"): math.nan if reached is None else reached,
        ("days_to_close", "restricted_mean"): 60 - area,
        ("win_incidence", "at_horizon"): now,
        ("sales_velocity", "throughput"): amounts[0] / cycle,
        ("sales_velocity", "forecast"): sum(row["won"] is None for row in rows)
        * (len(won) / len(decided))
        * statistics.fmean(sizes)
        / cycle,
    }


def test_every_figure_is_that_of_slow_arithmetic(many):
    deals, rows = many
    overlay = at.velocity(deals, by=("touched_partner", "region"), horizon_days=60, bootstrap=0)
    found = defaultdict(dict)
    for row in overlay.rows:
        found[row["touched_partner"], row["region"]][row["metric"], row["variant"]] = row
    assert len(found) == 6
    for (partner, region), figures in found.items():
        mine = [row for row in rows if partner in row["partners"] and row["region"] == region]
        # the other columns of `by` hold for the baseline too
        base = [row for row in rows if not row["partners"] and row["region"] == region]
        for which, key in ((mine, "value"), (base, "baseline")):
            expected = slowly(which)
            got = {name: math.nan if row[key] is None else row[key] for name, row in figures.items()}
            assert got == pytest.approx(expected, rel=1e-9, nan_ok=True)
        assert figures["close_rate", "cohort_count"]["n"] == len(mine)
        assert figures["close_rate", "cohort_count"]["baseline_n"] == len(base)


def test_throughput_is_won_revenue_by_cycle_and_its_parts_add_up(many):
    deals, _ = many
    overlay = at.velocity(deals, by="touched_partner", baseline="all", bootstrap=0)
    assert {row["variant"] for row in overlay.parts} == {"throughput", "forecast"}
    for row in overlay.parts:
        product = row["deals"] * row["win_rate"] * row["deal_size"] / row["cycle_days"]
        shown = of(overlay, "sales_velocity", row["variant"], touched_partner=row["touched_partner"])
        assert product == pytest.approx(shown["value"], rel=1e-12) == pytest.approx(row["value"])
        shares = [row[f"from_{name}"] for name in ("deals", "win_rate", "deal_size", "cycle_days")]
        assert sum(shares) == pytest.approx(row["value"] - row["baseline"], rel=1e-9)
        assert shown["difference"] == pytest.approx(row["difference"])


def test_a_slice_beside_itself_differs_by_nothing(many):
    deals, _ = many
    overlay = at.velocity(deals, by="deal_type", baseline="all", bootstrap=0)
    for row in overlay.rows:
        if row["difference"] is not None:
            assert row["difference"] == 0
            assert row["n"] == row["baseline_n"]
    assert all(row["from_deals"] in (0, None) for row in overlay.parts)


def test_intervals_are_around_their_values_and_repeatable(many):
    deals, _ = many
    one, two = (at.velocity(deals, by="touched_partner", bootstrap=100, seed=3) for _ in range(2))
    assert one.rows == two.rows
    for row in one.rows:
        if row["low"] is not None:
            assert row["low"] <= row["value"] + 1e-9
            assert row["value"] <= row["high"] + 1e-9
    for metric, variant in (
        *(("close_rate", "period_amount"), ("deal_size", "winsorised")),
        *(("sales_velocity", "throughput"), ("sales_velocity", "forecast")),
    ):
        assert of(one, metric, variant, touched_partner="Ashgate")["low"] is not None
    without = at.velocity(deals, by="touched_partner", bootstrap=0)
    assert of(without, "close_rate", "period_amount", touched_partner="Ashgate")["low"] is None


def test_curves_are_the_incidence_at_whole_days(many):
    deals, rows = many
    overlay = at.velocity(deals, by="region", baseline="all", bootstrap=0)
    for region in ("East", "West"):
        points = [row for row in overlay.curves().rows if row["region"] == region]
        mine = [row for row in rows if row["region"] == region]
        lives = [(500 if row["closed"] is None else row["closed"]) - row["created"] for row in mine]
        fates = [{None: 0, True: 1, False: 2}[row["won"]] for row in mine]
        exact = exact_incidence(list(zip(lives, fates, strict=True)))
        assert points[0]["days"] == 0
        assert points[-1]["days"] == max(lives)
        for point in points:
            reached = [value for time, value in exact.items() if time <= point["days"]]
            assert point["incidence"] == pytest.approx(float(reached[-1]) if reached else 0)
            assert point["n_at_risk"] == sum(life >= point["days"] for life in lives)
