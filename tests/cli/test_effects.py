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


def test_programs_apart_in_every_format(cli, filled, tmp_path):
    document = cli.json("effect", "--store", filled, "--by", "program", "--strata", "")
    _, text, _ = cli("effect", "--store", filled, "--by", "program", "--strata", "", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["program_id"] for row in rows] == [row["program_id"] for row in document["rows"]]
    code, _, _ = cli(
        "effect",
        "--store",
        filled,
        "--by",
        "program",
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


def test_the_lifecycle_reads_csv_files(cli, filled, tmp_path):
    name = Store(filled).deals().partners[0].name
    files = {
        "--costs": f"partner,amount,incurred_at\n{name},1000.50,2025-01-05\n,500,\n",
        "--partners": f"partner,signed_at\n{name},2025-01-01\nNobody Yet,2025-02-01\n",
        "--satisfaction": f"partner,score\n{name},8.5\n",
        "--leads": "id,eql_at,mql_at\n1,2025-01-01,2025-01-20\n2,2025-01-01,\n",
    }
    words: list[object] = ["--margins", "0.4"]
    for option, text in files.items():
        path = tmp_path / f"{option[2:]}.csv"
        path.write_text(text, encoding="utf-8")
        words += [option, path]
    document = cli.json("lifecycle", "--store", filled, *words)
    found = {(row["metric"], row["partner"]): row for row in document["rows"]}
    assert found["cost", "(all)"]["value"] == "1500.50"
    assert (found["cost", name]["value"], document["target"]) == ("1000.50", "1000000.00")
    assert found["satisfaction", "(all)"]["value"] == 8.5
    assert found["eql_to_mql", "(all)"]["value"] == 0.5
    assert found["return_on_investment", "(all)"]["low"] <= found["return_on_investment", "(all)"]["high"]
    _, text, _ = cli("lifecycle", "--store", filled, *words)
    assert "time_to_first_revenue" in text
    assert "not half of them" in text or "so far" in text


def test_files_that_cannot_be_read_are_one_line(cli, filled, tmp_path):
    (tmp_path / "costs.csv").write_text("partner,amount\nzoe,1\n", encoding="utf-8")
    for words, code, message in (
        (("--costs", tmp_path / "none.csv"), 2, "cannot read"),
        (("--margins", tmp_path / "none.csv"), 2, "cannot read"),
        (("--costs", tmp_path / "costs.csv"), 5, "'zoe' is the name or id of no one partner"),
        (("--leads", tmp_path / "costs.csv"), 2, "there is no column 'id'"),
        (("--target", 0), 2, "target is 0"),
    ):
        got, out, err = cli("lifecycle", "--store", filled, *words)
        assert (got, out) == (code, "")
        assert message in err
