"""The lifecycle of partners: by hand, against lifelines, and without what was not supplied."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime

import numpy as np
import pytest

import attribution as at
from attribution.columns import DAY, to_micros
from attribution.derive import derive
from attribution.errors import DataError, UsageError
from attribution.testing import fill, generate, simulate
from tests.notation import DAY_0, instant, path
from tests.records import MemoryRecords

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lifelines import KaplanMeierFitter


def day(n: float) -> datetime:
    return datetime.fromtimestamp((DAY_0 + n) * 86_400, UTC)


def row(found: at.Lifecycle, metric: str, partner: str = "(all)") -> dict:
    (only,) = [each for each in found.rows if (each["metric"], each["partner"]) == (metric, partner)]
    return only


def figures(found: at.Lifecycle, metric: str, partner: str = "(all)") -> tuple:
    only = row(found, metric, partner)
    return only["n"], only["value"], only["low"], only["high"]


def test_what_is_not_supplied_is_absent():
    found = at.lifecycle(path("ann@1 won@9 10.00 USD"))
    absent = {each["metric"] for each in found.rows if each["value"] is None}
    assert absent == {
        *("time_to_recruit", "time_to_first_revenue", "time_to_first_revenue_restricted_mean"),
        *("earning_by_horizon", "activation", "tenure", "revenue_per_recruit", "partners_needed"),
        *("cost", "cost_per_recruited", "cost_per_activated", "return_on_investment"),
        *("customer_lifetime_value", "eql_to_mql", "mql_to_sql", "sql_to_won", "satisfaction"),
        *("top_1_share", "top_5_share", "gini"),
    }
    assert "supply costs" in row(found, "cost")["note"]
    assert "signed_at" in row(found, "tenure")["note"]


def test_deals_without_amounts_have_no_revenue_and_no_return():
    deals = path("created@9 ann:referral@8 won@50", "created@9 bob:referral@8 won@60", as_of=900)
    partners = {"partner": ["ann", "bob"], "signed_at": [day(0)] * 2}
    costs = {"partner": ["ann", "bob"], "amount": ["10", "20"]}
    found = at.lifecycle(deals, costs, partners=partners, margins=0.5)
    for metric in (
        "revenue_per_recruit",
        "partners_needed",
        "return_on_investment",
        "top_1_share",
        "customer_lifetime_value",
    ):
        assert figures(found, metric)[1:] == (None, None, None)
        assert "left out: 2" in row(found, metric)["note"]
    assert figures(found, "return_on_investment", "ann") == (0, None, None, None)
    assert row(found, "cost")["value"] == 30
    # the margin of bob's deal alone is known: nothing is known of what ann brings
    found = at.lifecycle(deals, costs, partners=partners, margins={"deal_id": ["D2"], "margin": ["60"]})
    assert figures(found, "return_on_investment", "ann") == (0, None, None, None)
    assert "supply margins" in row(found, "return_on_investment", "ann")["note"]
    assert figures(found, "return_on_investment", "bob") == (1, None, 2.0, 2.0)
    both = row(found, "return_on_investment")
    assert (both["n"], both["low"]) == (1, 1.0)
    assert "won deals without a margin, left out: 1" in both["note"]
    # who won nothing brought 0, and that is known
    idle = path("created@9 ann:referral@8 lost@50", "created@9 won@60 10.00 USD", as_of=900)
    found = at.lifecycle(idle, costs={"partner": ["ann"], "amount": ["10"]}, partners=partners, margins=0.5)
    assert figures(found, "revenue_per_recruit")[:2] == (2, 0.0)
    assert row(found, "return_on_investment", "ann")["low"] == -1


def test_a_table_without_costs_knows_no_costs():
    empty: dict[str, list[str]] = {"partner": [], "amount": []}
    late = {"partner": [None], "amount": ["5"], "incurred_at": ["2999-01-01"]}
    for costs in (empty, late):
        found = at.lifecycle(path("ann@1 won@9 10.00 USD"), costs, margins=0.5)
        for metric in ("cost", "cost_per_recruited", "cost_per_activated", "return_on_investment"):
            assert figures(found, metric) == (0, None, None, None)
            assert "supply costs" in row(found, metric)["note"]


def test_never_active_partners_are_censored_as_lifelines_has_it():
    random = np.random.default_rng(1)
    names = [f"p{at:02d}" for at in range(40)]
    signed = random.integers(0, 300, 40)
    wins = np.where(random.random(40) < 0.9, signed + random.integers(1, 300, 40), 10_000)
    deals = path(
        *(
            f"created@{won - 1} {name}:referral@{won - 2} won@{won} 10.00 USD"
            for name, won in zip(names, wins, strict=True)
            if won < 500
        ),
        as_of=500,
    )
    table = {"partner": names, "signed_at": [day(int(each)) for each in signed]}
    found = at.lifecycle(deals, partners=table, horizon_days=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = KaplanMeierFitter().fit(np.minimum(wins, 500) - signed, wins < 500)
    assert figures(found, "time_to_first_revenue")[:2] == (40, peer.median_survival_time_)
    by_100 = float(peer.predict(100))
    assert row(found, "earning_by_horizon")["value"] == pytest.approx(1 - by_100, abs=1e-9)
    assert "of 40 won a deal" in row(found, "time_to_first_revenue")["note"]
    early = {**table, "signed_at": [day(999)] * 40}
    assert row(at.lifecycle(deals, partners=early), "time_to_first_revenue")["value"] is None


def test_times_by_hand():
    deals = path("created@90 ann@100 ann@120", "created@-10 bob@-5", as_of=400)
    table = {
        "partner": ["ann", "bob", "cyd", "dan"],
        "identified_at": [day(0), day(0), day(0), day(0)],
        "signed_at": [day(10), day(20), day(60), None],
        "ended_at": [None, None, day(90), None],
    }
    found = at.lifecycle(deals, partners=table, activation_days=90)
    # signed after 10, 20 and 60 days, one not yet: half of four after 20
    assert figures(found, "time_to_recruit")[:2] == (4, 20)
    # ann acts after 90 days, bob before he was signed; cyd left after 30 without, and never will
    assert row(found, "activation")["value"] == pytest.approx(2 / 3)
    assert row(at.lifecycle(deals, partners=table, activation_days=89), "activation")[
        "value"
    ] == pytest.approx(1 / 3)
    # gone: ann 180 days after day 120 (290 after signing), bob 180 after signing, cyd when it ended
    assert figures(found, "tenure")[:2] == (3, 180)


def test_who_ended_without_revenue_never_earns():
    deals = path("created@9 ann:referral@8 won@50 10.00 USD", "created@9 bob:referral@8 won@90", as_of=400)
    table = {
        "partner": ["ann", "bob", "cyd", "dan"],
        "signed_at": [day(0)] * 4,
        "ended_at": [None, day(80), day(10), day(20)],
    }
    found = at.lifecycle(deals, partners=table, horizon_days=365)
    # bob's deal was won after he had ended; cyd and dan are two of four, and not two nobody knows of
    assert row(found, "earning_by_horizon")["value"] == pytest.approx(1 / 2)
    assert figures(found, "time_to_first_revenue")[:2] == (4, 90)
    assert row(found, "time_to_first_revenue_restricted_mean")["value"] == (50 + 90 + 365 + 365) / 4


def test_the_tenure_of_who_never_took_part_is_censored():
    deals = path("created@9 ann@10", as_of=400)
    names = ["ann", "bob", "cyd"]
    found = at.lifecycle(deals, partners={"partner": names, "signed_at": [day(0)] * 3})
    only = row(found, "tenure")
    # ann stopped 180 days after day 10; of bob and cyd nobody knows
    assert (only["n"], only["value"]) == (3, None)
    assert "1 of 3 ended, or stopped" in only["note"]
    ended = {"partner": names, "signed_at": [day(0)] * 3, "ended_at": [None, day(250), None]}
    assert figures(at.lifecycle(deals, partners=ended), "tenure")[:2] == (3, 250)


def test_revenue_per_recruit_and_how_many_are_needed():
    deals = path(
        "created@9 ann:referral@8 won@50 100.00 USD",
        "created@9 ann:referral@8 won@200 900.00 USD",  # beyond the horizon
        "created@9 bob:referral@8 lost@60 50.00 USD",
        "created@9 cyd:referral@8 won@60",  # unvalued
        "created@390 dan:referral@389 won@395 70.00 USD",  # signed too late to tell
        as_of=400,
    )
    table = {"partner": ["ann", "bob", "cyd", "eve", "dan"], "signed_at": [day(0)] * 4 + [day(380)]}
    found = at.lifecycle(deals, partners=table, horizon_days=100, target=1000)
    n, value, low, high = figures(found, "revenue_per_recruit")
    assert (n, value, low) == (4, 25.0, 0.0)
    assert high > 25
    assert figures(found, "partners_needed") == (4, 40.0, 1000 / high, None)
    for metric in ("revenue_per_recruit", "partners_needed", "top_1_share", "gini"):
        assert "won deals without an amount, left out: 1" in row(found, metric)["note"]
    assert figures(found, "top_1_share")[:2] == (5, 1000 / 1070)


def test_costs_up_to_as_of_and_bounds_of_the_return():
    deals = path(
        "created@9 ann:referral@8 bob@20 won@50 100.00 USD",
        "created@9 bob@8+owner ann@20+weak won@60 60.00 USD reopened@40",
        "created@9 won@60 500.00 USD",
        as_of=100,
    )
    costs = {
        "partner": ["ann", None, "ann", "bob"],
        "amount": ["10.00", "20.00", "1000.00", "40"],
        "incurred_at": ["2026-01-05", None, "2027-01-01", "2026-01-06"],
    }
    found = at.lifecycle(
        deals, costs, margins=0.5, partners={"partner": ["ann"], "signed_at": ["2026-01-01"]}
    )
    assert row(found, "cost")["value"] == 70
    assert row(found, "cost", "ann")["value"] == 10
    assert row(found, "cost_per_recruited")["value"] == 70
    assert row(found, "cost_per_activated")["value"] == 35
    both = row(found, "return_on_investment")
    # low: half of 100; high: bob influenced the second, and has half of its touchpoints
    assert (both["value"], both["low"]) == (None, (50 - 70) / 70)
    assert both["high"] == pytest.approx((50 + 15 - 70) / 70)
    assert row(found, "return_on_investment", "ann")["low"] == (50 - 10) / 10
    bob = row(found, "return_on_investment", "bob")
    # of the first deal, which ann sourced, his headline influence has a share as well, if it was approved
    assert bob["low"] == (0 - 40) / 40
    assert bob["high"] == pytest.approx((15 - 40) / 40)
    margins = {"deal_id": ["D1"], "margin": ["90.00"]}
    found = at.lifecycle(deals, costs, margins=margins)
    assert row(found, "return_on_investment")["low"] == (90 - 70) / 70


def test_the_value_of_a_customer_by_who_acquired_it():
    year = 365
    deals = path(
        "created@0 ann:referral@-1 won@10 100.00 USD account=a",
        "created@300 won@320 10.00 USD account=a",
        f"created@300 won@{10 + year} 20.00 USD account=a",
        f"created@300 won@{10 + year - 1} 40.00 USD account=a",
        "created@0 ann:referral@-1 won@20 60.00 USD account=b",
        f"created@0 ann:referral@-1 won@{2 * year} 999.00 USD account=c",  # not followed for a year
        "created@0 won@20 60.00 USD account=d",  # acquired by nobody
        as_of=2 * year + 100,
    )
    found = at.lifecycle(deals, margins=0.5, discount=0.25)
    only = row(found, "customer_lifetime_value", "ann")
    # a: 75 and 10; b: 30 and nothing; so 52.5 in the first year and 5 in the second, a quarter off
    assert (only["n"], only["value"]) == (3, pytest.approx(52.5 + 5 / 1.25))
    assert only["note"].endswith("2 of 3 years; 2 customers followed for the first")
    assert only["low"] <= only["value"] <= only["high"]


def test_leads_count_where_they_had_the_time():
    leads = {
        "id": ["a", "b", "c", "d", "e"],
        "eql_at": [day(0), day(0), day(0), day(80), None],
        "mql_at": [day(10), day(31), None, day(81), day(50)],
        "sql_at": [day(20), None, None, None, day(49)],
        "won_at": [None] * 5,
    }
    found = at.lifecycle(path("won@1", as_of=100), leads=leads, caps={"won": 50})
    # d had only 20 of its 30 days; b came a day too late
    assert figures(found, "eql_to_mql")[:2] == (3, 1 / 3)
    # e went backwards, b did not go on, and the 60 days of d and e are not over
    assert figures(found, "mql_to_sql")[:2] == (2, 1 / 2)
    assert figures(found, "sql_to_won")[:2] == (2, 0)


def test_concentration_is_the_mean_difference():
    amounts = [5, 10, 20, 40, 0]
    deals = path(*(f"p{at}:referral@-1 won@9 {amount}.00 USD" for at, amount in enumerate(amounts)), as_of=50)
    table = {"partner": [f"p{at}" for at in range(6)], "signed_at": [day(0)] * 6}
    found = at.lifecycle(deals, partners=table)
    all_six = np.array([*amounts, 0])
    differences = np.abs(all_six[:, None] - all_six).mean() / (2 * all_six.mean())
    assert row(found, "gini")["value"] == pytest.approx(differences)
    assert row(found, "top_1_share")["value"] == pytest.approx(40 / 75)
    assert row(found, "top_5_share")["value"] == pytest.approx(1)


def test_what_we_hand_over_and_what_they_say_of_us():
    deals = path("ann:handed_over@1 ann:handed_over@2 won@5", "ann:handed_over@1 bob:handed_over@3", "bob@1")
    scores = {"partner": ["ann", "ann", "bob"], "score": ["7", "9", "2"]}
    found = at.lifecycle(deals, satisfaction=scores)
    assert row(found, "handed_over_deals")["value"] == 2
    assert row(found, "handed_over_open_deals")["value"] == 1
    assert row(found, "handed_over_deals", "ann")["value"] == 2
    assert row(found, "satisfaction")["value"] == 6
    assert figures(found, "satisfaction", "ann")[:2] == (2, 8)
    assert row(found, "satisfaction")["note"].startswith("insufficient")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"costs": {"partner": ["zoe"], "amount": ["1"]}}, "'zoe' is the name or id of no one partner"),
        ({"costs": {"partner": ["ann"], "amount": [None]}}, "nothing is given, and it must be"),
        ({"costs": {"partner": ["ann"], "amount": ["1"], "currency": ["EUR"]}}, "is not USD"),
        ({"partners": {"partner": ["ann", "ann"]}}, "is also that of row 0"),
        ({"satisfaction": {"partner": ["ann"], "score": ["good"]}}, "is no number"),
        ({"margins": {"deal_id": ["D1", "D1"], "margin": ["1", "1"]}}, "is also that of row 0"),
    ],
)
def test_rows_that_cannot_be_are_named(tables, message):
    with pytest.raises(DataError, match=message):
        at.lifecycle(path("ann@1 won@9 10.00 USD"), **tables)


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": 0},
        {"horizon_days": -1},
        {"discount": -0.1},
        {"caps": {"sal": 3}},
        {"margins": 1.5},
        {"costs": {"amount": ["1"]}},
    ],
)
def test_wrong_calls_are_refused(wrong):
    with pytest.raises(UsageError):
        at.lifecycle(path("ann@1 won@9 10.00 USD"), **wrong)


def test_when_a_partner_was_signed_comes_from_the_org(tmp_path):
    store = at.Store(tmp_path / "acme")
    fill(store, 300)
    deals = store.deals()
    since = deals.snapshot.partner_since
    assert len(since) == len(deals.partners)
    members = store.rows("ChannelProgramMember")
    assert len(members)
    for name, created in members.group_by("PartnerId").min().select("PartnerId", "CreatedDate").iter_rows():
        code = [party.id for party in deals.partners].index(name)
        assert since[code] == int(created.timestamp() * 1e6)
    assert at.Store(store.path).deals().snapshot.partner_since == since  # from the cache
    found = at.lifecycle(deals, {"partner": [None], "amount": ["1000.00"]}, margins=0.4)
    assert row(found, "tenure")["n"] > 0
    assert str(found).startswith("lifecycle of partners: as of ")
    assert len(found.to_polars()) == len(found.to_pandas()) == len(found.rows)


def test_nothing_after_as_of_counts():
    world = simulate(200, seed=1)
    late = {"partner": ["Northgate Systems"], "signed_at": [world.as_of.replace(year=2027)]}
    assert row(at.lifecycle(world.load(), partners=late), "activation")["n"] == 0
    assert instant(1) - instant(0) == DAY


def test_the_page_has_all_partners_first_and_a_line_for_the_first_of_them():
    deals = path(
        *(f"created@9 p{at:02d}:referral@8 won@{20 + at} 10.00 USD account=a{at}" for at in range(15)),
        "created@9 p14:referral@8 won@30 10.00 USD account=z",
        as_of=900,
    )
    costs = {"partner": ["p03", None], "amount": ["7.00", "5.00"]}
    found = at.lifecycle(deals, costs, margins=0.5)
    first, second, *_ = str(found).split("\n\n")
    assert "p03" not in first
    assert first.splitlines()[0].startswith("lifecycle of partners")
    lines = second.splitlines()
    assert lines[0].split("  ")[0] == "partner"
    # most customers first, then what they cost
    assert [line.split()[0] for line in lines[2:5]] == ["p14", "p03", "p00"]
    assert lines[3].split() == ["p03", "7.00", "-0.29*", "-0.29*", "1", "5.00*"]
    assert lines[-1] == "… and 3 more partners; every figure is in the rows"
    assert "rests on fewer than 10" in str(found)
    assert "p11" in found.to_text(15)
    assert "by partner" in found._repr_html_()
    assert "by partner" not in at.lifecycle(path("won@9 10.00 USD"))._repr_html_()


def test_what_an_org_cannot_tell_of_hand_overs_is_absent():
    org = generate(60, 3, partner_licences=False)
    told = generate(60, 3)
    for each, is_known in ((org, False), (told, True)):
        reads, until = MemoryRecords((each.now, each.records)), to_micros(each.now)
        deals = at.Deals(derive(reads, each.mapping, as_of=until, watermark=until), at.Policy())
        only = row(at.lifecycle(deals), "handed_over_deals")
        assert (only["value"] is not None) == is_known
        assert ("PartnerAccountId" in only["note"]) != is_known
