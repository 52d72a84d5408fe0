"""Which deals belong to a slice, and to its baseline."""

from __future__ import annotations

import math

import pytest

import attribution as at
from attribution.errors import UsageError
from tests.measures.overlay_rows import NO_TOUCHES, day, of
from tests.notation import path


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


def test_who_claims_beside_who_took_part(claimed):
    for name in ("partner", "parent"):
        overlay = at.velocity(claimed, by=(name, "touched_partner", "label"), bootstrap=0)
        n = {
            (row[name], row["touched_partner"], row["label"]): row["n"]
            for row in overlay.rows
            if row["variant"] == "cohort_count"
        }
        # bob's second claim was not approved, and nobody else took part in the first
        assert n == {
            ("ann", "ann", "sourced"): 1,
            ("ann", "bob", "sourced"): 1,
            ("bob", "ann", "influenced"): 1,
            ("bob", "bob", "influenced"): 2,
        }
    of_bob = at.velocity(claimed, by=("partner", "touched_partner"), partner="bob", bootstrap=0)
    assert {row["partner"] for row in of_bob.rows} == {"bob"}
    assert {row["touched_partner"] for row in of_bob.rows} == {"ann", "bob"}
    exposed = path("cat@10+exposure won@50 50.00 USD")
    assert "headline claim" in str(at.velocity(exposed, by=("partner", "touched_partner"), bootstrap=0))


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
