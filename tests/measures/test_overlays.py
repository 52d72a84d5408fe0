"""Overlays: stages worked by hand, every figure against slow arithmetic, identities, and the page."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import attribution as at
from attribution.errors import UsageError
from tests.measures.test_estimators import exact_incidence
from tests.notation import path

START = datetime(2026, 1, 1, tzinfo=UTC)
NO_TOUCHES = {"deal_id": [], "occurred_at": [], "partner": []}


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def of(overlay: at.Overlay, metric: str, variant: str, **labels: object) -> dict[str, object]:
    """The one row of a figure."""
    found = [
        row
        for row in overlay.rows
        if (row["metric"], row["variant"]) == (metric, variant) and labels.items() <= row.items()
    ]
    assert len(found) == 1, found
    return found[0]


# --- days in stage, by hand --------------------------------------------------------------------------------


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


def test_a_quarter_is_of_the_close_or_of_the_creation():
    deals = at.Deals.from_frames(
        {
            "id": ["a", "b", "c"],
            "created_at": [day(10), day(20), day(100)],
            "closed_at": [day(100), None, day(130)],
            "is_won": [True, None, False],
        },
        NO_TOUCHES,
        as_of=day(150),
    )
    overlay = at.velocity(deals, by="quarter", baseline="all", bootstrap=0)
    # two were created in the first quarter, one of them was won; both closes lie in the second
    cohort = of(overlay, "close_rate", "cohort_count", quarter="2026Q1")
    assert (cohort["n"], cohort["value"]) == (2, 0.5)
    period = of(overlay, "close_rate", "period_count", quarter="2026Q2")
    assert (period["n"], period["value"]) == (2, 0.5)
    assert {row["quarter"] for row in overlay.rows} == {"2026Q1", "2026Q2"}


def test_what_an_org_calls_so_itself_comes_before_our_words():
    deals = at.Deals.from_frames(
        {
            "id": ["a", "b"],
            "created_at": [day(1), day(2)],
            "closed_at": [day(3), None],
            "is_won": [True, None],
            "owner": ["East team", "West team"],
            "quarter": ["Q1", "Q2"],
        },
        NO_TOUCHES,
        as_of=day(150),
    )
    overlay = at.velocity(deals, by=("owner", "quarter"), baseline="all", bootstrap=0)
    assert {(row["owner"], row["quarter"]) for row in overlay.rows} == {
        ("East team", "Q1"),
        ("West team", "Q2"),
    }


# --- who is in a slice -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def claimed() -> at.Deals:
    return path(
        "ann:deal_registration@0+approved bob@20+owner won@60 10.00 USD",  # sourced, influenced
        "bob@10+owner won@50 20.00 USD",  # influenced
        "bob@10 lost@50 30.00 USD",  # a claim that nobody approved
        "cat@10+weak lost@50 40.00 USD",  # weak evidence alone
        "cat@10+exposure won@50 50.00 USD",  # an overlap alone
        "won@50 60.00 USD",
    )


def test_a_deal_is_in_the_slices_of_headline_claims(claimed):
    overlay = at.velocity(claimed, by="partner", bootstrap=0)
    n = {row["partner"]: row["n"] for row in overlay.rows if row["variant"] == "cohort_count"}
    assert n == {"ann": 1, "bob": 2}
    # only the deal that nobody touched is direct
    assert {row["baseline_n"] for row in overlay.rows if row["variant"] == "cohort_count"} == {1}
    touched = at.velocity(claimed, by="touched_partner", bootstrap=0)
    n = {row["touched_partner"]: row["n"] for row in touched.rows if row["variant"] == "cohort_count"}
    assert n == {"ann": 1, "bob": 3, "cat": 1}


def test_labels_are_the_steps_of_the_waterfall(claimed):
    overlay = at.velocity(claimed, by="label", bootstrap=0)
    n = {row["label"]: row["n"] for row in overlay.rows if row["variant"] == "cohort_count"}
    assert n == {"sourced": 1, "influenced": 1, "unqualified": 1, "exposed": 2, "direct": 1}
    both = at.velocity(claimed, by=("partner", "label"), bootstrap=0)
    found = {
        (row["partner"], row["label"]): row["n"] for row in both.rows if row["variant"] == "cohort_count"
    }
    assert found == {("ann", "sourced"): 1, ("bob", "influenced"): 2}


def test_only_the_slices_of_a_partner_are_shown_and_the_baseline_stays(claimed):
    overlay = at.velocity(claimed, by="partner", partner="bob", bootstrap=0)
    assert {row["partner"] for row in overlay.rows} == {"bob"}
    assert of(overlay, "close_rate", "cohort_count")["baseline_n"] == 1
    by_type = at.velocity(claimed, by="deal_type", partner="bob", baseline="all", bootstrap=0)
    assert of(by_type, "close_rate", "cohort_count")["n"] == 3


def test_a_baseline_of_ones_own(claimed):
    overlay = at.velocity(claimed, by="partner", baseline=claimed.where(partner="cat"), bootstrap=0)
    assert of(overlay, "close_rate", "cohort_count", partner="ann")["baseline_n"] == 1
    assert overlay.head["baseline"] == "deals"


def test_nothing_is_not_zero():
    empty = at.Deals.from_frames(
        {"id": [], "created_at": [], "closed_at": [], "is_won": []}, NO_TOUCHES, as_of=day(1)
    )
    overlay = at.velocity(empty)
    assert overlay.rows == []
    assert overlay.curves().rows == []
    assert "0 deals" in str(overlay)
    assert overlay.to_polars().is_empty()


def test_few_deals_are_said_to_be_few(claimed, many):
    assert {row["note"] for row in at.velocity(claimed, bootstrap=0).rows} == {"insufficient"}
    deals, rows = many
    overlay = at.velocity(deals, by="touched_partner", horizon_days=60, bootstrap=0)
    for row in overlay.rows:
        won = sum(bool(each["won"]) for each in rows if row["touched_partner"] in each["partners"])
        assert (row["note"] == "insufficient") == (won < 10)
    # nobody was followed for ten years
    long = at.velocity(deals, by="region", baseline="all", horizon_days=3650, bootstrap=0)
    assert of(long, "win_incidence", "at_horizon", region="East")["note"] == "short follow-up"


def test_a_close_before_the_creation_has_no_days():
    deals = path("created@0 won@-5 10.00 USD", "created@0 won@7 20.00 USD")
    overlay = at.velocity(deals, by="deal_type", baseline="all", bootstrap=0)
    assert of(overlay, "days_to_close", "won_mean")["value"] == 7
    assert of(overlay, "days_to_close", "won_mean")["n"] == 1
    assert of(overlay, "close_rate", "period_count")["n"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": "colour"},
        {"by": ()},
        {"by": ("partner", "partner")},
        {"by": ("partner", "touched_partner")},
        {"baseline": "nobody"},
        {"horizon_days": 0},
        {"horizon_days": math.nan},
        {"bootstrap": -1},
        {"partner": "nobody"},
        {"baseline": path("won@5 10 EUR")},
    ],
)
def test_what_cannot_be_asked_is_refused(claimed, wrong):
    with pytest.raises(UsageError):
        at.velocity(claimed, **wrong)


# --- what people and machines read -------------------------------------------------------------------------


def test_the_page_says_what_may_be_claimed(many):
    deals, _ = many
    overlay = at.velocity(deals, by="touched_partner", bootstrap=0)
    text = str(overlay)
    assert "direct (baseline)" in text
    assert "association, not an effect" in text
    assert len(text.splitlines()) < 28
    for words in ("chosen by what happened later", "won in 365 days"):
        assert words in text
    html = overlay._repr_html_()
    assert html.count("<tr>") == 1 + 1 + 3
    assert "association" in html
    assert "more slices" in at.velocity(deals, by="touched_partner", bootstrap=0).to_text(1)


VERDICTS = ("wins more often", "wins less often", "no difference shown")


@pytest.fixture(scope="module")
def idle() -> at.Deals:
    """Partners change nothing, but meet the deals that are not lost soon; big deals are won more often."""
    draw = np.random.default_rng(5)
    n, span = 5_000, 700
    created = draw.uniform(0, span, n)
    is_big, is_slow = draw.random(n) < 0.5, draw.random(n) < 0.5
    wins, loses = draw.exponential(np.where(is_big, 100, 300)), draw.exponential(np.where(is_slow, 300, 25))
    touched, life = draw.exponential(80, n), np.minimum(wins, loses)
    closed = created + life
    met = np.flatnonzero((touched < life) & (created + touched < span))
    return at.Deals.from_frames(
        {
            "id": [f"d{number}" for number in range(n)],
            "created_at": [day(each) for each in created],
            "closed_at": [day(each) if each < span else None for each in closed],
            "is_won": [
                bool(won) if over else None for won, over in zip(wins < loses, closed < span, strict=True)
            ],
            "size": ["big" if each else "small" for each in is_big],
            "coin": ["heads" if each else "tails" for each in draw.random(n) < 0.5],
        },
        {
            "deal_id": [f"d{number}" for number in met],
            "occurred_at": [day(each) for each in (created + touched)[met]],
            "partner": [f"P{number % 2}" for number in met],
            "strength": ["strong"] * len(met),
        },
        as_of=day(span),
    )


@pytest.mark.parametrize("by", ["touched_partner", "label", ("touched_partner", "size")])
@pytest.mark.parametrize("baseline", ["direct", "all"])
def test_deals_chosen_by_what_came_later_get_no_verdict(idle, by, baseline):
    overlay = at.velocity(idle, by=by, baseline=baseline, bootstrap=0)
    # by the figures alone one would say that partners matter
    assert any(row["difference_low"] > 0 for row in overlay.rows if row["metric"] == "win_incidence")
    for page in (str(overlay), overlay._repr_html_()):
        assert "only `attribution effect` can compare" in page
        assert not [words for words in (*VERDICTS, "onest") if words in page]
    assert "chosen by what happened to them later" in " ".join(overlay.reasons)
    assert "at.partner_effect" in " ".join(overlay.reasons)
    assert overlay.to_dict()["chosen_later"]


def test_slices_known_at_creation_keep_their_verdict(idle):
    sizes = at.velocity(idle, by="size", baseline="all", bootstrap=0)
    claims = {line.split()[0]: line for line in str(sizes).splitlines() if line}
    assert claims["big"].endswith("wins more often")
    assert claims["small"].endswith("wins less often")
    assert sizes.to_dict()["chosen_later"] == []
    assert "no difference shown" in str(at.velocity(idle, by="coin", baseline="all", bootstrap=0))
    # which deals are direct, or a partner's, is not known at creation
    for options in ({"baseline": "direct"}, {"baseline": "all", "partner": "P1"}):
        page = str(at.velocity(idle, by="size", bootstrap=0, **options))
        assert not [words for words in VERDICTS if words in page]
        assert "chosen by what happened later" in page


def test_a_page_without_slices_says_why():
    deals = path("cat@10+weak lost@50 40.00 USD", "won@50 60.00 USD")
    page = at.velocity(deals, by="partner", bootstrap=0).to_text()
    assert "Nobody holds a headline claim" in page
    assert "touched_partner" in page
    (baseline,) = (line.split() for line in page.splitlines() if line.startswith("direct (baseline)"))
    assert baseline[2:4] == ["1", "1"]
    untouched = path("won@50 60.00 USD")
    assert "No touchpoint counts" in str(at.velocity(untouched, by="touched_partner", bootstrap=0))


def test_the_document_is_json_and_has_every_row(many):
    deals, _ = many
    overlay = at.velocity(deals, by=("touched_partner", "region"), bootstrap=0)
    document = json.loads(json.dumps(overlay.to_dict(), allow_nan=False))
    assert document["measure"] == "velocity"
    assert document["by"] == ["touched_partner", "region"]
    assert len(document["rows"]) == len(overlay)
    assert list(document["rows"][0]) == [
        *("touched_partner", "touched_partner_id", "region", "metric", "variant", "stage", "n", "value"),
        *("low", "high", "unit", "baseline_n", "baseline", "difference", "difference_low"),
        *("difference_high", "note"),
    ]
    assert document["reasons"]


def test_tables_come_out_typed(many, tmp_path):
    import polars

    deals, _ = many
    overlay = at.velocity(deals, by="region", bootstrap=0)
    frame = overlay.to_polars()
    assert frame["value"].dtype == polars.Float64
    assert frame["n"].dtype == polars.Int64
    assert len(overlay.to_pandas()) == len(overlay)
    overlay.to_parquet(tmp_path / "rows.parquet")
    assert polars.read_parquet(tmp_path / "rows.parquet").equals(frame)
    assert overlay.to_csv().splitlines()[0].startswith("region,metric,variant,stage,n,value")
    assert overlay.curves().to_polars()["n_at_risk"].dtype == polars.Int64
    assert "incidence" in str(overlay.curves())


@pytest.mark.parametrize("kind", ["incidence", "days_in_stage"])
def test_pictures_are_drawn(staged, many, kind, tmp_path):
    deals = staged if kind == "days_in_stage" else many[0]
    overlay = at.velocity(deals, by="deal_type", baseline="all", bootstrap=0)
    overlay.plot(kind).save(str(tmp_path / "picture.png"))
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "picture.png").stat().st_size > 5_000
    with pytest.raises(UsageError, match="no picture"):
        overlay.plot("pie")


def test_a_picture_carries_its_curves_to_the_end_and_tells_what_it_leaves_out():
    ids = [f"{number:03}" for number in range(120)]
    is_won = [True if number % 2 == 0 else None for number in range(120)]
    deals = at.Deals.from_frames(
        {
            "id": ids,
            "created_at": [day(0)] * 120,
            "closed_at": [day(5 + number) if won else None for number, won in enumerate(is_won)],
            "is_won": is_won,
            "group": [f"g{number % 5}" for number in range(120)],
        },
        NO_TOUCHES,
        as_of=day(600),
    )
    overlay = at.velocity(deals, by="group", baseline="all", bootstrap=0)
    drawn = overlay.plot(slices=4).to_dict()
    assert "4 of 5 slices shown" in json.dumps(drawn)
    assert "slices shown" not in json.dumps(overlay.plot(slices=5).to_dict())
    (points,) = (values for values in drawn["datasets"].values() if "incidence" in values[0])
    for name in {point["slice"] for point in points}:
        mine = [point for point in points if point["slice"] == name]
        assert mine[-1]["days"] == 365
        assert mine[-1]["incidence"] == mine[-2]["incidence"] > 0
