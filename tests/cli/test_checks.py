"""Commands that hold numbers against their rules."""

from __future__ import annotations

import json

import polars as pl
import pytest

from attribution import Mapping, Policy, Store, audit, what_if


def test_settings_print_a_file_that_says_the_same(cli, filled, tmp_path):
    code, text, _ = cli("settings", "--store", filled)
    assert code == 0
    file = tmp_path / "attribution.toml"
    file.write_text(text)
    document = cli.json("settings", "--store", filled)
    assert Mapping.from_toml(file).hash == document["mapping_hash"] == Store(filled).mapping.hash
    assert Policy.from_toml(file).hash == document["policy_hash"]
    # without a store: the defaults; and a file of one's own before a store's
    assert cli.json("settings")["mapping_hash"] == Mapping().hash
    Policy(late_days=3).to_toml(file)
    assert cli.json("settings", "--store", filled, "--policy", file)["policy"]["late_days"] == 3


def test_what_if_varies_settings_and_takes_files(cli, filled, tmp_path):
    file = tmp_path / "strict.toml"
    strict = Policy(late_days=60, claim_days=0)
    strict.to_toml(file)
    words = ("what-if", "--store", filled, "--vary", "influence_window_days=30,365", "--vary", "void_by=[]")
    varied = Policy().varied(influence_window_days=[30, 365], void_by=[()])
    expected = what_if(Store(filled).deals(), {**varied, str(file): strict})
    assert cli.json(*words, "--with", file) == expected.to_dict()
    per = expected.per("partner", "program").to_csv()
    assert cli(*words, "--with", file, "--by", "partner,program", "--format", "csv")[1] == per


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vary", "late_days"], "says no values"),
        (["--vary", "late_days="], "says no values"),
        (["--vary", "late_days=soon"], "says no values"),
        (["--vary", "late_day=1"], "no setting 'late_day'"),
        (["--vary", "late_days=-1"], "late_days = -1"),
        ([], "no policy to compare"),
    ],
)
def test_what_if_refuses_what_is_no_variation(cli, filled, words, message):
    code, _, err = cli("what-if", "--store", filled, *words)
    assert (code, message in err) == (2, True), err


def test_what_if_hints_in_words_of_the_command_line(cli, filled):
    _, _, err = cli("what-if", "--store", filled)
    assert "Hint: pass --vary late_days=0,14 or --with FILE" in err


def test_audit_says_the_same_in_every_form(cli, filled, tmp_path):
    expected = audit(Store(filled).deals(), of="all")
    words = ("audit", "--store", filled, "--of", "all")
    document = cli.json(*words)
    assert document == json.loads(json.dumps(expected.to_dict()))
    assert len(document["findings"]) == sum(row["n_findings"] for row in document["summary"]) > 0
    assert cli(*words, "--format", "csv")[1] == expected.to_csv()
    assert cli(*words, "--format", "parquet", "--out", tmp_path / "audit.parquet")[0] == 0
    assert pl.read_parquet(tmp_path / "audit.parquet").equals(expected.findings)
    assert cli(*words)[1] == f"{expected}\n"
    # a cached snapshot tells the same
    assert cli.json(*words) == document
    partner = document["findings"][0]["partner_id"]
    less = cli.json(*words, "--partner", partner)["summary"]
    assert sum(row["n_deals"] for row in less) < sum(row["n_deals"] for row in document["summary"])
