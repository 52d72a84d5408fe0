"""What is said of effects, on the page and in pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest

import attribution as at
from attribution.measures.effect_table import MOVES, conclusion, conclusion_of_many
from attribution.measures.rung_rows import COLUMNS
from attribution.testing import simulate

STRATA = ["segment", "size", "owner_id"]


def _rows(
    ratio: tuple[float, float, float],
    rate: tuple[float, float, float],
    note: str = "",
    *,
    stages: bool = True,
) -> list[dict]:
    rungs = [
        ("time_varying", ratio),
        ("landmark_30", ratio),
        ("landmark_60", ratio),
        ("placebo", (1, 0.9, 1.1)),
    ]
    rows = [(rung, "win_hazard_ratio", figures) for rung, figures in rungs]
    rows.append(("stratified", "win_rate_difference", rate))
    before = f"; {MOVES} +0.00 moves" if stages else ""
    return [
        {
            **dict(zip(COLUMNS, (rung, measure, 0, 0, value, low, high), strict=False)),
            "note": note + before * (rung == "placebo"),
        }
        for rung, measure, (value, low, high) in rows
    ]


def test_what_may_be_said():
    better, none = (1.3, 1.1, 1.5), (1.0, 0.9, 1.1)
    assert conclusion(_rows(better, (0.1, 0.05, 0.2))).startswith("The rungs agree: from the first touch on")
    assert "sellers saw" in conclusion(_rows(better, (0.1, 0.05, 0.2)))
    disagreed = conclusion(_rows(better, (0.1, -0.05, 0.2)))
    assert "associated with" in disagreed
    assert "stratified does not show it" in disagreed
    far = _rows((6.0, 4.0, 9.0), (0.1, 0.05, 0.2))
    far[1] |= {"value": 1.4, "low": 1.2, "high": 1.6}
    assert "landmark_30 shows far less of it" in conclusion(far)
    assert "Claim none" in conclusion(_rows(none, (0.1, 0.05, 0.2)))
    assert "Claim nothing" in conclusion(_rows(better, (0.1, 0.05, 0.2), "insufficient; few"))
    fading = "× 2.0, × 1.1 later: it fades, as where partners are called into deals about to be won"
    assert "it fades" in conclusion(_rows(better, (0.1, 0.05, 0.2), fading))
    assert "associated with" in conclusion(_rows(better, (0.1, 0.05, 0.2), fading))


def test_without_stages_more_than_an_association_is_never_spoken_of():
    said = conclusion(_rows((1.3, 1.1, 1.5), (0.1, 0.05, 0.2), stages=False))
    assert said.startswith("A partner's touch is associated with deals won 1.30 times as fast")
    assert "stages would tell" in said
    world = simulate(3000, seed=1, hazard_ratio=1.6)
    blind = at.Deals.from_frames(world.deals, world.touchpoints, as_of=world.as_of)
    for effect in (
        at.partner_effect(blind, strata=STRATA),
        at.partner_effect(world.load(), strata=[*STRATA, "stage"]),
    ):
        (ratio,) = [each for each in effect.rows if each["rung"] == "time_varying"]
        assert ratio["low"] > 1
        assert effect.foot["conclusion"].startswith("A partner's touch is associated with")
        assert "stages would tell" in effect.foot["conclusion"]
    assert at.partner_effect(world.load(), strata=STRATA).foot["conclusion"].startswith("The rungs agree:")


def test_of_many_partners_it_is_said_how_many_lie_apart_and_how_many_would_by_chance():
    def named(name: str, rows: list[dict]) -> list[dict]:
        return [{"partner": name, "partner_id": f"id of {name}", **each} for each in rows]

    rate = (0.1, 0.05, 0.2)
    rows = [
        *named("ann", _rows((1.3, 1.1, 1.5), rate)),
        *named("bob", _rows((0.5, 0.4, 0.6), rate)),
        *named("cyd", _rows((1.0, 0.9, 1.1), rate)),
        *named("dan", _rows((1.3, 1.1, 1.5), rate, "insufficient; few")),
    ]
    said = conclusion_of_many(rows, "partner")
    assert "associated with" in said
    assert "sellers choose" in said
    assert "2 of 3 with enough wins, where chance alone would put 0.2" in said
    assert said.endswith("The rungs, and what stages tell, agree on 1: ann.")
    assert conclusion_of_many(rows[5:], "partner").endswith("agree on none.")
    assert "Claim nothing" in conclusion_of_many(rows[15:], "partner")
    effect = at.partner_effect(simulate(500, seed=5).load(), by="partner", strata=STRATA)
    assert effect.foot["conclusion"] == conclusion_of_many(effect.rows, "partner")
    assert "sellers choose" in " ".join(str(effect).split())
    subtitle = " ".join(effect.plot().to_dict()["title"]["subtitle"])
    assert effect.foot["conclusion"] in subtitle


def test_the_page_says_in_words_what_may_be_claimed():
    text = str(at.partner_effect(simulate(800, seed=6).load(), strata=STRATA))
    assert text.splitlines()[0].startswith("effect of any partner: all deals as of 2025-12-21T00:00:00Z")
    assert "conclusion" in text
    assert "touches dealt at random would show" in text
    assert max(map(len, text.splitlines())) <= 110
    document = at.partner_effect(simulate(800, seed=6).load(), partner="Northgate Systems").to_dict()
    assert document["measure"] == "partner_effect"
    assert document["partner"] == ["Northgate Systems"]
    assert set(document["rows"][0]) == {
        *("rung", "measure", "n_with", "n_without", "value", "low", "high", "note")
    }


def test_a_forest_shows_the_partners_of_most_deals_and_tells_them_apart():
    effect = at.partner_effect(simulate(300, seed=8).load(), by="partner")
    (one, *_) = [row for row in effect.rows if row["rung"] == "time_varying"]

    def row(number: int) -> dict[str, object]:
        # the smaller a partner, the larger its ratio
        figures = {"value": 2 - number / 50, "low": 0.5, "high": 3.0, "n_with": 10 + number}
        name = "The Partners of Northern Europe and Beyond" if number > 47 else f"Partner {number}"
        return one | figures | {"partner": name, "partner_id": f"p{number}"}

    crowd = replace(effect, rows=[row(number) for number in range(50)])
    document = crowd.plot().to_dict()
    values = next(rows for rows in document["datasets"].values() if "row" in rows[0])
    assert len(values) == len({each["row"] for each in values}) == 40
    assert values[0]["row"] == "Partner 10 (20)"
    assert [each["row"] for each in values[-2:]] == [
        f"The Partners of Northern Europe and…, p{number} ({10 + number})" for number in (48, 49)
    ]
    assert "10 more, of fewer deals, are not shown." in " ".join(document["title"]["subtitle"])


@pytest.mark.parametrize("by", [None, "partner"])
def test_pictures_render(by):
    picture = at.partner_effect(simulate(400, seed=8).load(), by=by).plot()
    import vl_convert

    png = vl_convert.vegalite_to_png(picture.to_json())
    assert png.startswith(b"\x89PNG")
    assert len(png) > 5_000


def test_many_partners_have_a_line_each():
    effect = at.partner_effect(simulate(900, seed=5).load(), by="partner", strata=STRATA)
    assert len(effect.rows) == 48
    lines = str(effect).splitlines()
    names = [row["partner"] for row in effect.rows if row["rung"] == "time_varying"]
    shown = lines[3:7]
    assert sorted(line.split("  ")[0] for line in shown) == sorted(names)
    assert all(
        line.endswith(("no difference shown", "too few wins to say", "do not agree")) for line in shown
    )
    assert len(effect.to_text(1).splitlines()) == len(lines) - 2
    assert "… and 3 more" in effect.to_text(1)
    assert "what may be said" in effect._repr_html_()
