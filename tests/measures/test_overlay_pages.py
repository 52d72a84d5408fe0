"""The page, the document, the files and the pictures of overlays."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

import attribution as at
from attribution.errors import UsageError
from tests.measures.overlay_rows import NO_TOUCHES, day
from tests.notation import path


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


def test_money_is_text_in_the_document_and_the_same_number_elsewhere(many):
    deals, _ = many
    overlay = at.velocity(deals, by="region", bootstrap=20)
    document, frame = overlay.to_dict(), overlay.to_polars().to_dicts()
    assert deals.currency == "USD"
    for told, row, inside in zip(document["rows"], frame, overlay.rows, strict=True):
        of_money = row["unit"] in ("USD", "USD per day")
        for name in ("value", "low", "high", "baseline", "difference", "difference_low", "difference_high"):
            assert row[name] == inside[name]
            if row[name] is None:
                assert told[name] is None
            elif of_money:
                assert re.fullmatch(r"-?\d+\.\d\d+", told[name])
                assert float(told[name]) == row[name]
            else:
                assert told[name] == row[name]
    for told, part in zip(document["sales_velocity_parts"], overlay.parts, strict=True):
        for name in ("deal_size", "baseline_deal_size", "value", "baseline", "difference", "from_win_rate"):
            assert told[name] is None if part[name] is None else float(told[name]) == part[name]
        assert told["cycle_days"] == part["cycle_days"]


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


@pytest.fixture(scope="module")
def many_groups() -> at.Deals:
    """Nine groups of ten deals, won on days 10 to 19; ten more are open, created 100 days before as_of."""
    closed = [day(500 + 10 + number % 10) for number in range(90)]
    return at.Deals.from_frames(
        {
            "id": [f"{number:03}" for number in range(100)],
            "created_at": [day(500)] * 100,
            "closed_at": [*closed, *[None] * 10],
            "is_won": [*[True] * 90, *[None] * 10],
            "group": [*(f"g{number // 10}" for number in range(90)), *["open"] * 10],
        },
        NO_TOUCHES,
        as_of=day(600),
    )


def drawn(overlay: at.Overlay, column: str, **options: Any) -> list[dict[str, Any]]:
    """What a picture draws of a column."""
    document = overlay.plot(**options).to_dict()
    return [row for rows in document["datasets"].values() for row in rows if column in row]


def test_numbers_at_risk_are_those_of_the_day_itself(many_groups):
    overlay = at.velocity(many_groups, by="group", baseline="all", bootstrap=0)
    shown = {(row["slice"], row["days"]): row["n"] for row in drawn(overlay, "n", slices=5)}
    # the next day on which anything happens to the open deals is the last on which they are seen
    assert [shown["all (baseline)", days] for days in (0, 14, 28, 98)] == ["100", "64", "10", "10"]
    assert shown["g0", 14] == "6"
    overlay = at.velocity(many_groups, by="group", baseline="all", horizon_days=10, bootstrap=0)
    shown = {(row["slice"], row["days"]): row["n"] for row in drawn(overlay, "n", slices=5)}
    assert (shown["g0", 0], shown["g0", 10]) == ("10", "10")


def test_many_slices_have_a_panel_each(many_groups):
    overlay = at.velocity(many_groups, by="group", baseline="all", bootstrap=0)
    assert "facet" not in overlay.plot().to_dict()
    picture = overlay.plot(slices=40).to_dict()
    assert picture["facet"]["field"] == "slice"
    rows = drawn(overlay, "part", slices=40)
    assert {row["slice"] for row in rows} == {*(f"g{number}" for number in range(9)), "open"}
    assert "Grey line: all (baseline)." in picture["title"]["subtitle"][0]


def test_where_nothing_is_decided_the_axis_still_begins_at_nothing(many_groups):
    alone = many_groups.where(segments={"group": "open"})
    overlay = at.velocity(alone, by="group", baseline="all", bootstrap=0)
    assert {row["incidence"] for row in drawn(overlay, "incidence")} == {0}
    assert '"domain": [0, 1.0]' in json.dumps(overlay.plot().to_dict())
    assert "Nothing is known of stages" in json.dumps(overlay.plot("days_in_stage").to_dict())


def test_a_picture_says_what_must_not_be_claimed(many, idle):
    by_region = at.velocity(many[0], by="region", baseline="all", bootstrap=0)
    assert "no effect of a partner" not in json.dumps(by_region.plot().to_dict())
    touched = at.velocity(idle, by="touched_partner", bootstrap=0)
    for kind in ("incidence", "days_in_stage"):
        assert "no effect of a partner" in json.dumps(touched.plot(kind).to_dict())
    nobody = at.velocity(path("won@5 10.00 USD"), by="partner", bootstrap=0)
    assert "There is no slice to show." in json.dumps(nobody.plot().to_dict())


def test_days_in_stage_stand_beside_their_baseline(staged):
    overlay = at.velocity(staged, by="deal_type", baseline="all", bootstrap=0)
    rows = drawn(overlay, "stage", kind="days_in_stage")
    assert {row["slice"] for row in rows} == {"all (baseline)", "unclassified"}
