"""``attribution effect``: documents, files and pictures."""

from __future__ import annotations

import csv
import io

import pytest

from attribution import Store, partner_effect
from attribution.testing import fill


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("effects") / "acme"
    fill(Store(folder), 300)
    return folder


def test_the_document_is_that_of_python(cli, filled):
    document = cli.json(
        "effect", "--store", filled, "--strata", "deal_type, Industry__c", "--horizon-days", 60
    )
    expected = partner_effect(Store(filled).deals(), strata=["deal_type", "Industry__c"], horizon_days=60)
    assert document == expected.to_dict()
    assert len(document["rows"]) == 12


def test_partners_apart_in_every_format(cli, filled, tmp_path):
    document = cli.json("effect", "--store", filled, "--by", "partner", "--strata", "")
    _, text, _ = cli("effect", "--store", filled, "--by", "partner", "--strata", "", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["partner_id"] for row in rows] == [row["partner_id"] for row in document["rows"]]
    code, _, _ = cli(
        "effect",
        "--store",
        filled,
        "--by",
        "partner",
        "--format",
        "parquet",
        "--out",
        tmp_path / "effect.parquet",
    )
    assert code == 0


def test_a_picture_beside_the_table(cli, filled, tmp_path):
    code, text, _ = cli("effect", "--store", filled, "--plot", tmp_path / "rungs.png")
    assert code == 0
    assert "conclusion" in text
    assert (tmp_path / "rungs.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_calls_are_one_line(cli, filled, tmp_path):
    for words, message in (
        (("--plot", tmp_path / "rungs.doc"), "is no picture"),
        (("--plot", tmp_path / "nowhere" / "rungs.png"), "cannot write"),
        (("--strata", "Size"), "there is no stratum 'Size'"),
        (("--by", "owner"), "cannot be told by 'owner'"),
    ):
        code, out, err = cli("effect", "--store", filled, *words)
        assert (code, out) == (2, "")
        assert message in err
        assert "Hint: " in err
