"""Velocity on the command line: every format, and what is refused."""

from __future__ import annotations

import json

import polars
import pytest


def test_the_page_the_document_and_the_files(cli, filled, tmp_path):
    words = ("velocity", "--store", filled, "--by", "program,deal_type", "--bootstrap", 20)
    code, page, _ = cli(*words)
    assert code == 0
    assert page.startswith("velocity by program, deal_type")
    assert "association" in page
    document = cli.json(*words)
    assert document["measure"] == "velocity"
    assert {row["metric"] for row in document["rows"]} >= {"close_rate", "days_in_stage", "stage_conversion"}
    assert json.dumps(document, allow_nan=False)
    assert cli(*words, "--format", "parquet", "--out", tmp_path / "rows.parquet")[0] == 0
    rows = polars.read_parquet(tmp_path / "rows.parquet")
    told = [row["value"] for row in document["rows"]]
    assert rows["value"].to_list() == [None if each is None else float(each) for each in told]
    code, text, _ = cli(*words, "--curves", "--format", "csv")
    assert text.splitlines()[0].endswith("days,incidence,low,high,n_at_risk")


def test_a_picture_and_only_some_slices(cli, filled, tmp_path):
    partner = cli.json("velocity", "--store", filled, "--bootstrap", 0)["rows"][0]["partner"]
    words = ("velocity", "--store", filled, "--partner", partner, "--bootstrap", 0, "--horizon", 90)
    document = cli.json(*words, "--plot", tmp_path / "stages.png", "--kind", "days_in_stage")
    assert {row["partner"] for row in document["rows"]} == {partner}
    assert document["horizon_days"] == 90
    assert (tmp_path / "stages.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_as_many_slices_as_asked_for(cli, filled, tmp_path):
    words = ("velocity", "--store", filled, "--by", "program", "--bootstrap", 0)
    for more, n in (((), 4), (("--slices", 9), 9)):
        cli.json(*words, "--plot", tmp_path / "curves.json", *more)
        drawn = (tmp_path / "curves.json").read_text()
        assert f"{n} of 12 slices shown" in drawn
        assert ('"facet"' in drawn) == (n > 6)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--by", "colour"), "colour"),
        (("--baseline", "nobody"), "nobody"),
        (("--plot", "picture.doc"), "picture.doc"),
        (("--plot", "nowhere/picture.png"), "nowhere"),
        (("--plot", "picture.png", "--kind", "pie"), "pie"),
        (("--horizon", 0), "horizon"),
    ],
)
def test_wrong_words_exit_2(cli, filled, words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("velocity", "--store", filled, "--bootstrap", 0, *words)
    assert code == 2
    assert expected in err
