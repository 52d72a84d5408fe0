"""The rungs of effect: by hand, on deals of known truth, and on hostile ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import exp

import numpy as np
import polars as pl
import pytest

import attribution as at
from attribution.errors import UsageError
from attribution.measures.hazards import NEVER, hazard_ratio
from attribution.testing import simulate
from tests.notation import path

STRATA = ["segment", "size", "owner_id"]


def row(effect: at.PartnerEffect, rung: str, measure: str = "win_hazard_ratio") -> dict:
    (found,) = [each for each in effect.rows if (each["rung"], each["measure"]) == (rung, measure)]
    return found


def test_the_naive_rung_by_hand():
    deals = path(
        *("ann@2 won@20", "ann@2 ann@9 won@40", "ann@3 lost@9"),
        *("won@10", "lost@5", "lost@6", "lost@7", "bob@1"),
    )
    rate = row(at.partner_effect(deals), "naive", "win_rate_difference")
    assert (rate["n_with"], rate["n_without"]) == (3, 4)
    assert rate["value"] == pytest.approx(2 / 3 - 1 / 4)
    assert rate["note"].startswith("insufficient")
    days = row(at.partner_effect(deals), "naive", "days_to_close_difference")
    assert (days["n_with"], days["n_without"]) == (2, 1)
    assert days["value"] is None  # one deal without has no spread
    at_once = row(at.partner_effect(path("ann@9 won@9", "won@8")), "naive", "win_rate_difference")
    assert (at_once["n_with"], at_once["n_without"]) == (0, 2)
    alone = row(at.partner_effect(deals, partner="bob"), "naive", "win_rate_difference")
    assert (alone["n_with"], alone["value"]) == (0, None)


def test_hindsight_is_in_the_naive_rung_alone():
    texts = ("ann@10{} won@60", "ann@20{} won@50", "ann@-400{} lost@40", "won@30", "lost@50", "won@70")
    for by in (None, "partner"):
        later = at.partner_effect(path(*(each.format("+recorded=80") for each in texts), as_of=100), by=by)
        naive = row(later, "naive", "win_rate_difference")
        assert (naive["n_with"], naive["n_without"]) == (3, 3)
        assert naive["value"] == pytest.approx(2 / 3 - 2 / 3)
        for rung in ("time_varying", "landmark_30"):
            assert row(later, rung)["n_with"] == 0
    at_once = at.partner_effect(path(*(each.format("") for each in texts), as_of=100))
    naive = row(at_once, "naive", "win_rate_difference")
    assert (naive["n_with"], naive["value"]) == (3, pytest.approx(0))


def test_the_landmark_by_hand():
    # open on day 30: A and B touched, C touched on day 40, D not; E was lost before
    deals = path(
        *("ann@2 won@50", "ann@30 lost@60", "ann@40 won@70", "lost@80", "ann@1 lost@20"),
        *("created@900 ann@901 won@950",),
        as_of=1000,
    )
    rate = row(at.partner_effect(deals), "landmark_30", "win_rate_difference")
    # the last one was created too late to be followed for 90 days after its day 30
    assert (rate["n_with"], rate["n_without"], rate["value"]) == (2, 2, 0.0)
    days = row(at.partner_effect(deals), "landmark_30", "days_to_close_difference")
    assert days["value"] == pytest.approx(20 - 40)
    sixty = row(at.partner_effect(deals), "landmark_60", "win_rate_difference")
    assert (sixty["n_with"], sixty["n_without"], sixty["value"]) == (1, 1, 1.0)


def test_the_stratified_rung_compares_at_several_ages_by_hand():
    # day 30: A newly touched, B and C not yet; day 60: B newly touched, C not yet; A is past its day
    # E was created too late to be followed for 90 days from any age
    deals = path(
        *("ann@10 won@100", "ann@45 won@110", "lost@120", "ann@95 lost@99", "created@900 ann@901 won@940"),
        as_of=1000,
    )
    found = row(at.partner_effect(deals), "stratified", "win_rate_difference")
    # won within 90 days of day 30: A yes, B yes (110), C no, D no; day 60: B yes, C no, D no
    at_30, at_60 = (1 - 1 / 3), (1 - 0)
    weight_30, weight_60 = 1 * 3 / 4, 1 * 2 / 3
    assert found["value"] == pytest.approx(
        # day 90: D was touched on day 95, so that nobody is newly touched
        (weight_30 * at_30 + weight_60 * at_60) / (weight_30 + weight_60)
    )
    assert (found["n_with"], found["n_without"]) == (2, 3)


def test_time_counts_from_the_first_touch_that_had_happened_and_was_known():
    def ages(*texts: str, **more: object) -> tuple[str, int]:
        found = row(at.partner_effect(path(*texts, as_of=100), **more), "time_varying")
        return found["note"].split(": ")[1].split(",")[0], found["n_with"]

    others = ("won@30", "lost@50", "won@70")
    assert ages("ann@10 won@60", *others) == ("1 wins in 50 days with", 1)
    assert ages("ann@-5 won@60", *others) == ("1 wins in 60 days with", 1)
    assert ages("ann@10+recorded=40 won@60", *others) == ("1 wins in 20 days with", 1)
    assert ages("ann@10+recorded=61 won@60", *others) == ("0 wins in 0 days with", 0)
    assert ages("ann@60 won@60", *others) == ("0 wins in 0 days with", 0)
    assert ages("ann@10", *others) == ("0 wins in 90 days with", 1)
    assert ages("ann@-400 won@60", *others) == ("0 wins in 0 days with", 0)
    for fact in ("exposure", "own", "rejected"):
        assert ages(f"ann@10+{fact} won@60", *others) == ("0 wins in 0 days with", 0)
    assert ages("ann:handed_over@10 won@60", *others) == ("0 wins in 0 days with", 0)
    assert ages("ann/resale@10 ann/cosell@20 won@60", *others, program="cosell") == (
        "1 wins in 40 days with",
        1,
    )
    assert ages("ann@10 bob@20 won@60", *others, partner=["bob", "ann"])[0] == "1 wins in 50 days with"


def test_nothing_that_happens_after_as_of_changes_anything():
    world = simulate(400, seed=3)
    as_of = pl.lit(world.as_of)
    seen = pl.col("closed_at") <= as_of
    cut = at.Deals.from_frames(
        world.deals.filter(pl.col("created_at") <= as_of).with_columns(
            pl.when(seen).then("closed_at").alias("closed_at"), pl.when(seen).then("is_won").alias("is_won")
        ),
        world.touchpoints.filter(pl.col("occurred_at") <= as_of),
        world.stages.filter(pl.col("entered_at") <= as_of),
        as_of=world.as_of,
    )
    assert at.partner_effect(cut, strata=STRATA).rows == at.partner_effect(world.load(), strata=STRATA).rows


def test_touches_after_the_close_and_further_ones_change_nothing():
    world = simulate(400, seed=4)
    closed = world.deals.filter(pl.col("is_won")).select(
        deal_id="id", occurred_at=pl.col("closed_at") + pl.duration(seconds=1)
    )
    late = closed.with_columns(partner=pl.lit("Northgate Systems"), program=pl.lit("Co-sell"))
    more = at.Deals.from_frames(
        world.deals, pl.concat([world.touchpoints, late]), world.stages, as_of=world.as_of
    )
    assert at.partner_effect(more).rows == at.partner_effect(world.load()).rows


def test_each_partner_has_the_rows_that_it_has_alone():
    deals = simulate(500, seed=5).load()
    both = at.partner_effect(deals, by="partner", strata=STRATA)
    names = list(dict.fromkeys(each["partner"] for each in both.rows))
    assert names == sorted(party.name for party in deals.partners)
    for name in names:
        alone = at.partner_effect(deals, partner=name, strata=STRATA).rows
        assert [
            {key: value for key, value in each.items() if not key.startswith("partner")}
            for each in both.rows
            if each["partner"] == name
        ] == alone
    programs = at.partner_effect(deals, by="program")
    assert {each["program"] for each in programs.rows} == {"Co-sell", "Referral"}


def test_strata_take_away_what_they_hold():
    """Hot deals are won 5 times as fast and touched 5 times as often: within strata nothing is left."""
    random = np.random.default_rng(1)
    n = 4000
    hot = random.random(n) < 0.5
    won, lost = (random.exponential(days, n) for days in (np.where(hot, 60, 300), 90))
    touch = random.exponential(np.where(hot, 30, 150))
    end = np.minimum(won, lost)
    day = np.datetime64("2024-01-01", "us")

    def instant(days: np.ndarray) -> pl.Series:
        return pl.Series(day + (days * 86_400e6).astype("timedelta64[us]")).dt.replace_time_zone("UTC")

    ids = [f"D{at:05d}" for at in range(n)]
    touched = touch < end
    deals = at.Deals.from_frames(
        {
            "id": ids,
            "created_at": instant(np.zeros(n)),
            "closed_at": instant(end),
            "is_won": won < lost,
            "hot": hot,
        },
        {
            "deal_id": [name for name, is_touched in zip(ids, touched, strict=True) if is_touched],
            "occurred_at": instant(touch[touched]),
            "partner": ["Northgate"] * int(touched.sum()),
        },
        as_of=datetime(2026, 12, 31, tzinfo=UTC),
    )
    blind, fair = at.partner_effect(deals), at.partner_effect(deals, strata=["hot"])
    for rung in ("time_varying", "landmark_30", "landmark_60"):
        assert row(blind, rung)["low"] > 1.2
        assert row(fair, rung)["low"] < 1 < row(fair, rung)["high"]
    assert "hot, by" in row(blind, "stratified", "win_rate_difference")["note"]
    assert row(blind, "stratified", "win_rate_difference")["low"] > 0
    found = row(fair, "stratified", "win_rate_difference")
    assert found["low"] < 0 < found["high"]
    assert row(blind, "naive", "win_rate_difference") == row(fair, "naive", "win_rate_difference")


@pytest.mark.parametrize(
    "texts",
    [(), ("ann@1",), ("won@5",), ("ann@-1 won@5", "ann@-1 lost@9"), ("won@0", "lost@-3", "ann@1 won@0")],
)
def test_deals_of_which_nothing_can_be_said_say_nothing(texts):
    effect = at.partner_effect(path(*texts) if texts else path("won@1", as_of=0.5).where())
    assert all(each["value"] is None or each["rung"] == "naive" for each in effect.rows)
    assert effect.foot["conclusion"].startswith("Too few")
    assert "-" in str(effect)
    assert len(effect.to_polars()) == len(effect.to_pandas()) == 12


def test_a_choice_by_the_close_is_warned_of():
    deals = simulate(300, seed=2).load()
    assert "warning" not in at.partner_effect(deals).foot
    assert "mislead" in at.partner_effect(deals.where(closed="2024Q3")).foot["warning"]


def test_wrong_calls_say_what_exists():
    deals = path("ann@1 won@9 Industry=Retail", "won@8")
    with pytest.raises(UsageError, match="no stratum 'size'") as error:
        at.partner_effect(deals, strata=["size"])
    assert "Industry" in str(error.value.hint)
    with pytest.raises(UsageError, match="no partner 'zoe'"):
        at.partner_effect(deals, partner="zoe")
    with pytest.raises(UsageError, match="horizon of 0 days"):
        at.partner_effect(deals, horizon_days=0)
    with pytest.raises(UsageError, match="by 'owner'"):
        at.partner_effect(deals, by="owner")


def test_partners_called_into_deals_that_move_are_told_by_what_came_before():
    def note(**world: float) -> tuple[str, str]:
        effect = at.partner_effect(simulate(3000, seed=1, **world).load(), strata=STRATA)
        return row(effect, "placebo")["note"], effect.foot["conclusion"]

    called, said = note(selection=4)
    assert "partners came to deals that were already moving" in called
    assert "associated with" in said
    assert "already moving" in said
    for world in ({}, {"hazard_ratio": 1.5}):
        assert "before their touch deals had made" in note(**world)[0]
        assert "already moving" not in note(**world)[0]
    world = simulate(600, seed=1)
    blind = at.Deals.from_frames(world.deals, world.touchpoints, as_of=world.as_of)
    assert "moves" not in row(at.partner_effect(blind), "placebo")["note"]


def test_within_stages_hot_deals_are_compared_with_hot_deals():
    world = simulate(6000, seed=2, selection=4)
    blind = at.partner_effect(world.load(), strata=STRATA)
    fair = at.partner_effect(world.load(), strata=[*STRATA, "stage"])
    assert row(blind, "time_varying")["low"] > 1
    for rung, measure in (
        *[(rung, "win_hazard_ratio") for rung in ("time_varying", "landmark_30", "landmark_60")],
        *[(rung, "win_rate_difference") for rung in ("stratified", "landmark_30", "landmark_60")],
    ):
        found, none = row(fair, rung, measure), float(measure == "win_hazard_ratio")
        assert found["low"] < none < found["high"], (rung, measure)
    assert "moves" not in row(fair, "placebo")["note"]
    # cutting deals at their moves loses no day and no win
    counts = [row(each, "time_varying")["note"].split("E-value")[0] for each in (blind, fair)]
    assert counts[0] == counts[1]


def test_the_stage_is_that_at_the_time_compared():
    """Two stages as two strata of episodes: as the peers of Cox's model would be given them."""
    world = simulate(300, seed=3)
    deals = world.load()
    columns, spells = deals.snapshot.deals, deals.snapshot.spells
    end = np.minimum(columns.closed_at, deals.snapshot.as_of) - columns.created_at
    first = np.full(len(end), NEVER)
    np.minimum.at(
        first, deals.deal_of, deals.snapshot.touchpoints.occurred_at - columns.created_at[deals.deal_of]
    )
    rows = []
    for deal in range(len(end)):
        stays = slice(*spells.offsets[deal : deal + 2])
        starts = [*(spells.entered_at[stays] - columns.created_at[deal]).tolist(), int(end[deal])]
        for start, stop, stage in zip(starts, starts[1:], spells.stage[stays].tolist(), strict=False):
            stop = min(stop, int(end[deal]))
            won = columns.outcome[deal] == 1 and stop == end[deal]
            rows.append((stop, won, int(first[deal]), stage, start))
    expected = hazard_ratio(*(np.array(column) for column in zip(*rows, strict=True)))
    found = row(at.partner_effect(deals, strata=["stage"]), "time_varying")
    assert found["value"] == pytest.approx(exp(expected.log), abs=1e-9)


def test_moves_before_the_touch_by_hand():
    day = datetime(2026, 1, 1, tzinfo=UTC)
    n = 40
    ids = [f"{kind}{at:02d}" for kind in "AB" for at in range(n)]
    deals = {"id": ids, "created_at": [day] * 2 * n, "closed_at": [None] * 2 * n, "is_won": [None] * 2 * n}
    touches = {
        "deal_id": ids[:n],
        "occurred_at": [day + timedelta(days=50)] * n,
        "partner": ["Northgate"] * n,
    }
    # those touched on day 50 moved on day 20, half of the others on day 20, the rest on day 40
    moves = [20] * n + [20, 40] * (n // 2)
    stages = {
        "deal_id": [*ids, *ids],
        "stage": ["Discovery"] * 2 * n + ["Proposal"] * 2 * n,
        "entered_at": [day] * 2 * n + [day + timedelta(days=each) for each in moves],
    }
    found = at.partner_effect(
        at.Deals.from_frames(deals, touches, stages, as_of=day + timedelta(days=70)), strata=[]
    )
    assert "+0.50 moves between stages" in row(found, "placebo")["note"]


def test_the_simulation_is_what_it_says():
    """Latent times follow the hazards that are stated: told by the simulated deals themselves."""
    world = simulate(20_000, seed=9, hazard_ratio=1.5)
    assert simulate(50, seed=9).deals.equals(simulate(50, seed=9).deals)
    deals = world.load(as_of=world.as_of.replace(year=2030))
    columns = deals.snapshot.deals
    age = columns.closed_at - columns.created_at
    first = np.full(len(age), NEVER)
    np.minimum.at(
        first, deals.deal_of, deals.snapshot.touchpoints.occurred_at - columns.created_at[deals.deal_of]
    )
    proposal = world.stages.filter(pl.col("stage") == "Proposal")
    entered = dict(zip(proposal["deal_id"], proposal["entered_at"].dt.epoch("us"), strict=True))
    hot = np.array([entered.get(name.decode(), NEVER) for name in columns.id])
    hot = np.where(hot == NEVER, NEVER, hot - columns.created_at)
    won = columns.outcome == 1
    covariate = np.stack(columns.segments).T @ np.array([1, 10, 100])
    by_heat = hazard_ratio(age, won, hot, covariate)
    assert 2.2 < exp(by_heat.log) < 3.2  # the stage follows the heat within 3 days
    touched = hazard_ratio(age, won, first, covariate)
    assert 1.42 < exp(touched.log) < 1.55
    lost = hazard_ratio(age, ~won, first, covariate)
    assert 0.94 < exp(lost.log) < 1.06


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"hazard_ratio": 0}, {"selection": -1}, {"hazard_ratio": float("nan")}]
)
def test_a_simulation_of_nothing_is_refused(wrong):
    with pytest.raises(UsageError, match="cannot simulate"):
        simulate(**{"n": 10, **wrong})


@pytest.fixture(scope="module")
def covered():
    """Over seeds, by rung and measure: how often the interval held the truth, and the mean."""

    def run(seeds: int, truth: float) -> dict[tuple[str, str], tuple[float, float]]:
        found: dict[tuple[str, str], list[tuple[bool, float]]] = {}
        for seed in range(seeds):
            deals = simulate(600, seed=seed, hazard_ratio=truth).load()
            for each in at.partner_effect(deals, strata=STRATA, seed=seed).rows:
                target = truth if each["measure"] == "win_hazard_ratio" else 0
                if each["value"] is not None:
                    holds = each["low"] <= target <= each["high"]
                    found.setdefault((each["rung"], each["measure"]), []).append((holds, each["value"]))
        return {key: tuple(np.mean(values, axis=0)) for key, values in found.items()}  # type: ignore[misc]

    return run


@pytest.mark.slow
def test_where_partners_change_nothing_honest_rungs_cover_nothing_and_the_naive_does_not(covered):
    found = covered(200, 1.0)
    assert found["naive", "days_to_close_difference"][0] < 0.05
    assert found["naive", "days_to_close_difference"][1] > 25
    assert found["naive", "win_rate_difference"][0] < 0.5
    for (rung, measure), (coverage, mean) in found.items():
        if rung != "naive":
            # 200 draws at 95 %: below 0.90 and above 0.99 once in a thousand
            assert 0.9 <= coverage <= 0.99, (rung, measure, coverage)
            if measure == "win_hazard_ratio":
                assert abs(mean - 1) < 0.06, (rung, mean)


@pytest.mark.slow
def test_a_real_effect_is_recovered(covered):
    coverage, mean = covered(60, 1.2)["time_varying", "win_hazard_ratio"]
    assert coverage >= 0.85
    assert 1.15 < mean < 1.28
