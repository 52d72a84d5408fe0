"""The command line over the real wire: documents, exit codes, and errors of one line."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from attribution import Store
from attribution.measures.comparison import compare
from attribution.measures.credit import attribute
from attribution.measures.removal import removal_effects
from attribution.measures.resampling import Bootstrap
from attribution.models import Linear, Markov, Milestone, Position, Shapley, TimeDecay, Weighted
from attribution.testing import generate
from attribution.testing import truth as known


def test_sync_then_every_measure_equals_the_known_truth(cli, org, tmp_path):
    store = tmp_path / "acme"
    records = generate(120, seed=11)
    store.mkdir()
    (store / "attribution.toml").write_text(records.settings)
    report = cli.json("sync", "--store", store)
    assert {each["status"] for each in report["objects"]} == {"ok"}
    assert report["rejected"] == []
    for command, measure in (("sourced", "sourced"), ("influenced", "influenced"), ("credit", "linear")):
        for by in (("partner",), ("program",), ("parent", "tier"), ("deal_type", "Industry__c", "partner")):
            document = cli.json(command, "--store", store, "--by", ",".join(by))
            truth = records.truth(as_of=known.datetime.fromisoformat(document["as_of"]))
            expected = known.table(truth, measure, by)
            named = ("partner", "parent", "program", "tier")
            names = [f"{name}_id" if name in named else name for name in by]
            assert {_key(row, names): row["amount"] for row in document["rows"]} == {
                _key(row, names): row["amount"] for row in expected
            }
            assert document["total"] == known.totals(truth, measure)["total"]


def _key(row, names):
    return tuple(row[name] for name in names)


def test_a_second_sync_writes_nothing_and_sees_edits_and_deletions(cli, org, tmp_path):
    store = tmp_path / "acme"
    cli.json("sync", "--store", store)
    org.advance(timedelta(minutes=5))
    again = cli.json("sync", "--store", store)
    assert sum(each["written"] + each["deleted"] for each in again["objects"]) == 0
    won = next(
        row for row in org.rows("Opportunity") if row["IsWon"] and row["Amount"] and not row["IsDeleted"]
    )
    before = cli.json("credit", "--store", store)
    org.update("Opportunity", won["Id"], Amount=won["Amount"] + 1)
    org.advance(timedelta(minutes=5))
    cli.json("sync", "--store", store)
    after = cli.json("credit", "--store", store)
    assert Decimal(after["selected"]) == Decimal(before["selected"]) + 1
    org.purge("Opportunity", won["Id"])
    org.advance(timedelta(minutes=5))
    report = cli.json("sync", "--store", store)
    assert sum(each["deleted"] for each in report["objects"]) >= 1
    assert cli.json("credit", "--store", store)["n_deals"] == before["n_deals"] - 1


def test_every_format_carries_the_same_cents(cli, org, tmp_path):
    store = tmp_path / "acme"
    cli("sync", "--store", store)
    document = cli.json("credit", "--store", store)
    total = Decimal(document["total"]) + Decimal(document["unattributed"])
    assert total == Decimal(document["selected"])
    code, text, _ = cli("credit", "--store", store, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (code, sum(Decimal(row["amount"]) for row in rows)) == (0, total)
    assert rows[-1]["partner"] == "(unattributed)"
    file = tmp_path / "credit.parquet"
    cli("credit", "--store", store, "--format", "parquet", "--out", file)
    assert pl.read_parquet(file)["amount"].sum() == total
    assert "participation_amount" in cli("influenced", "--store", store, "--format", "csv")[1].splitlines()[0]


def test_filters_restrict_deals_and_rows(cli, org, tmp_path):
    store = tmp_path / "acme"
    cli("sync", "--store", store)
    everything = cli.json("credit", "--store", store)
    first = everything["rows"][0]
    only = cli.json("credit", "--store", store, "--partner", first["partner"])
    assert only["rows"] == [first | {"share": only["rows"][0]["share"]}]
    assert only["total"] == first["amount"]
    for year in (2024, 2025, 2026):
        quarter = cli.json("credit", "--store", store, "--closed", f"{year}Q4")
        days = cli.json("credit", "--store", store, "--closed", f"{year}-10-01..{year}-12-31")
        assert quarter == days
    past = cli.json("sourced", "--store", store, "--as-of", "2025-06-30")
    assert past["as_of"] == "2025-07-01T04:00:00Z"


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["credit", "--by", "planet"], 2, "partner, program"),
        (["credit", "--model", "magic"], 2, "first_touch"),
        (["credit", "--model", "position", "--half-life", "30d"], 2, "time_decay"),
        (["credit", "--model", "position", "--first", "2"], 2, "at most 1"),
        (["credit", "--model", "time_decay", "--half-life", "soon"], 2, "30d"),
        (["credit", "--model", "weighted", "--weight", "call"], 2, "NAME=2.5"),
        (["compare", "--models", "linear,magic"], 2, "first_touch"),
        (["compare", "--models", "linear,position", "--order", "2"], 2, "markov"),
        (["removal-effects", "--seed", "2"], 2, "--intervals"),
        (["credit", "--intervals", "2"], 2, "20 times"),
        (["credit", "--linear-by", "planet"], 2, "touchpoint or partner"),
        (["credit", "--of", "maybe"], 2, "won"),
        (["credit", "--as-of", "yesterday"], 2, "2026-06-30"),
        (["credit", "--as-of", "2026-06-30T10:00"], 2, "offset"),
        (["credit", "--closed", "2026Q5"], 2, "2026Q2"),
        (["credit", "--partner", "Nobody Ltd"], 2, "known partners"),
        (["credit", "--policy", "nowhere.toml"], 2, "nowhere.toml"),
        (["credit", "--nonsense"], 2, "--nonsense"),
        (["nonsense"], 2, "nonsense"),
        (["sync", "--log-format", "xml"], 2, "'--log-format': 'xml' is not one of 'text', 'json'"),
    ],
)
def test_wrong_words_are_answered_with_what_exists(cli, filled, words, code, expected):
    if words[0] == "credit":
        words = [*words, "--store", filled]
    got, out, err = cli(*words)
    assert (got, out) == (code, "")
    assert expected in err
    assert err.startswith("Error: ")
    assert "Traceback" not in err
    got, out, err = cli(*words, "--json")
    document = json.loads(out)["error"]
    assert got == code
    assert expected in f"{document['message']} {document['hint']}"


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ("--model linear --linear-by partner", Linear(by="partner")),
        ("--model position", Position()),
        ("--model position --first 0.3 --last 0.5", Position(first=0.3, last=0.5)),
        ("--model markov --order 2 --level program", Markov(order=2, level="program")),
        ("--model shapley --game rate", Shapley(game="rate")),
        ("--model shapley --game rate --samples 8 --seed 3", Shapley(game="rate", samples=8, seed=3)),
        ("--model w_shaped", Milestone.w_shaped()),
        ("--model full_path", Milestone.full_path()),
        ("--model time_decay --half-life 2w", TimeDecay(timedelta(weeks=2))),
        ("--model weighted --weight meeting=2 --weight role=0", Weighted({"meeting": 2, "role": 0})),
        ("--model weighted --weight Referral=2 --weight-by role", Weighted({"Referral": 2}, by="role")),
    ],
)
def test_models_and_their_options(cli, filled, options, model):
    expected = attribute(Store(filled).deals(), model).by("partner").to_dict()
    assert cli.json("credit", "--store", filled, *options.split()) == expected


def test_direct_touches_are_players_in_the_pool_of_all(cli, filled):
    credit = attribute(Store(filled).deals(), Linear(), pool="all", eligible="any").by("partner")
    document = cli.json("credit", "--store", filled, "--pool", "all")
    assert document == credit.to_dict()
    assert document["rows"][0]["partner"] == "(direct)"
    assert document["rows"][0]["partner_id"] is None


def test_models_are_compared_each_with_its_options(cli, filled):
    deals = Store(filled).deals()
    expected = compare(deals, [Position(first=0.3), Markov(order=2)], by=("partner", "program"), pool="all")
    options = "--models position,markov --first 0.3 --order 2 --by partner,program --pool all"
    assert cli.json("compare", "--store", filled, *options.split()) == expected.to_dict()


def test_removal_effects_of_the_chain(cli, filled):
    drawn = Bootstrap(n=20, seed=4)
    expected = removal_effects(Store(filled).deals(), order=2, level="program", intervals=drawn)
    options = "--order 2 --level program --intervals 20 --seed 4"
    assert cli.json("removal-effects", "--store", filled, *options.split()) == expected.to_dict()


def test_intervals_of_credit(cli, filled):
    expected = attribute(Store(filled).deals(), Linear(), intervals=Bootstrap(n=20)).by("program")
    options = "--intervals 20 --by program"
    assert cli.json("credit", "--store", filled, *options.split()) == expected.to_dict()


def test_parquet_needs_a_file(cli, filled):
    code, _, err = cli("credit", "--store", filled, "--format", "parquet")
    assert (code, "--out" in err) == (2, True)


def test_no_store_named_or_none_there(cli, tmp_path, monkeypatch):
    monkeypatch.delenv("ATTRIBUTION_STORE", raising=False)
    assert cli("sourced")[0] == 2
    (tmp_path / "notes.txt").write_text("not a store")
    code, _, err = cli("sourced", "--store", tmp_path)
    assert (code, "no store" in err) == (5, True)
    assert cli("sourced", "--store", tmp_path / "new")[0] == 5


def test_missing_and_wrong_credentials_name_the_variable_and_no_secret(cli, org, tmp_path, monkeypatch):
    monkeypatch.setenv("SALESFORCE_ACCESS_TOKEN", "a-token-that-nobody-gave-out")
    code, out, err = cli("sync", "--store", tmp_path / "acme")
    assert (code, out) == (3, "")
    assert "INVALID_SESSION_ID" in err
    assert "nobody-gave-out" not in err
    monkeypatch.delenv("SALESFORCE_ACCESS_TOKEN")
    code, _, err = cli("sync", "--store", tmp_path / "acme")
    assert (code, "SALESFORCE_ACCESS_TOKEN" in err) == (2, True)
    monkeypatch.setenv("SALESFORCE_ACCESS_TOKEN", "x")
    monkeypatch.setenv("SALESFORCE_INSTANCE_URL", org.url.replace("https", "http"))
    code, _, err = cli("sync", "--store", tmp_path / "acme")
    assert (code, "https" in err) == (2, True)


@pytest.mark.parametrize(
    ("variable", "value", "code", "says"),
    [
        ("SALESFORCE_ACCESS_TOKEN", "00D!broken-in-the\nmiddle", 2, "SALESFORCE_ACCESS_TOKEN"),
        ("SALESFORCE_ACCESS_TOKEN", "00D!broken-by-\u20ac", 2, "SALESFORCE_ACCESS_TOKEN"),
        ("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem", 2, "REQUESTS_CA_BUNDLE"),
        ("SALESFORCE_INSTANCE_URL", "https://localhost:1", 3, "SALESFORCE_INSTANCE_URL"),
    ],
)
def test_what_is_wrong_with_the_connection_is_named(
    cli, org, tmp_path, monkeypatch, variable, value, code, says
):
    monkeypatch.setenv(variable, value)
    got, out, err = cli("sync", "--store", tmp_path / "acme", "--debug")
    assert (got, out) == (code, "")
    assert says in err.splitlines()[-1] + err.splitlines()[-2]
    assert "00D!broken" not in err


def test_numbers_wait_for_an_object_that_was_never_read(cli, org, tmp_path):
    store = tmp_path / "acme"
    org.faults.add("/sobjects/Event/updated", times=1_000, status=503, body=b"<html>")
    assert cli("sync", "--store", store)[0] == 3
    code, _, err = cli("influenced", "--store", store)
    assert (code, "Event was never read" in err) == (5, True)
    org.faults.clear()
    assert cli("sync", "--store", store)[0] == 0
    assert cli("influenced", "--store", store)[0] == 0


def test_an_object_that_the_org_loses_does_not_hold_as_of_back(cli, org, tmp_path):
    store = tmp_path / "acme"
    cli("sync", "--store", store)
    before = cli.json("sourced", "--store", store)
    org.remove_object("ChannelProgramMember")
    org.advance(timedelta(days=2))
    report = cli.json("sync", "--store", store)
    assert report["unavailable"] == ["ChannelProgramMember"]
    assert any("kept" in warning for warning in report["warnings"])
    assert cli.json("sourced", "--store", store)["as_of"] > before["as_of"]


def test_a_gap_in_the_log_of_deleted_records_is_told_and_stops_nothing(cli, org, tmp_path):
    store = tmp_path / "acme"
    cli("sync", "--store", store)
    org.advance(timedelta(hours=2))
    body = b'[{"errorCode": "INVALID_REPLICATION_DATE", "message": "startDate before the log begins"}]'
    org.faults.add("/sobjects/Opportunity/deleted", times=1, status=400, body=body)
    report = cli.json("sync", "--store", store)
    assert {each["status"] for each in report["objects"]} == {"ok"}
    assert any("purged" in warning for warning in report["warnings"])


def test_a_mapping_that_names_what_was_never_read(cli, filled, tmp_path):
    (tmp_path / "m.toml").write_text('[mapping]\namount_field = "ACV__c"\n')
    code, _, err = cli("credit", "--store", filled, "--mapping", tmp_path / "m.toml")
    assert (code, "ACV__c of Opportunity" in err) == (2, True)
    assert "line 2" in err


def test_touchpoints_without_a_program_can_be_asked_for(cli, org, tmp_path):
    cli("sync", "--store", tmp_path / "acme")
    rows = cli.json("credit", "--store", tmp_path / "acme", "--by", "program")["rows"]
    none = next(row for row in rows if row["program_id"] is None)
    only = cli.json("credit", "--store", tmp_path / "acme", "--by", "program", "--program", "(none)")
    assert [row["amount"] for row in only["rows"]] == [none["amount"]]


def test_a_damaged_store_is_told(cli, org, tmp_path):
    cli("sync", "--store", tmp_path / "acme")
    for file in (tmp_path / "acme" / "mirror" / "Event").glob("*.parquet"):
        file.unlink()
    code, _, err = cli("influenced", "--store", tmp_path / "acme")
    assert (code, "damaged" in err) == (5, True)


def test_a_hidden_required_field_stops_the_sync_and_names_the_permission(cli, org, tmp_path):
    org.hide_field("Opportunity", "Amount")
    code, _, err = cli("sync", "--store", tmp_path / "acme")
    assert code == 2
    assert "Amount" in err
    assert "permission set" in err
    code, out, _ = cli("doctor")
    assert code == 2
    assert "blocked" in out


def test_doctor_says_what_will_not_be_synced_and_why(cli, org):
    org.remove_object("ChannelProgramMember")
    document = cli.json("doctor")
    verdicts = {each["object"]: each["verdict"] for each in document["objects"]}
    assert verdicts["ChannelProgramMember"] == "unavailable"
    assert verdicts["Opportunity"] == "synced"
    assert document["api_calls_allowed"] == org.quota
    assert "unclassified" in cli("doctor")[1]


def test_one_object_that_fails_leaves_the_others_and_exits_3(cli, org, tmp_path):
    org.faults.add("/sobjects/Event/updated", times=1_000, status=503, body=b"<html>")
    code, out, _ = cli("sync", "--store", tmp_path / "acme", "--json")
    statuses = {each["object"]: each["status"] for each in json.loads(out)["objects"]}
    assert code == 3
    assert statuses["Event"] == "failed"
    assert statuses["Opportunity"] == "ok"


def test_demo_equals_the_known_truth(cli, tmp_path):
    document = cli.json("demo", "--opportunities", 150, "--seed", 3)
    assert {Decimal(check["difference"]) for check in document["checks"]} == {Decimal(0)}
    code, out, _ = cli("demo", "--opportunities", 60, "--store", tmp_path / "kept")
    assert (code, "Beside the known truth" in out) == (0, True)
    assert cli("credit", "--store", tmp_path / "kept")[0] == 0
    assert cli("demo", "--store", tmp_path / "kept")[0] == 2


def test_demo_of_an_empty_org(cli):
    assert cli("demo", "--opportunities", 0)[0] == 0


def test_the_program_runs_as_a_process_and_survives_a_closed_pipe():
    words = [sys.executable, "-m", "attribution", "--help"]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "demo" in ran.stdout
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 1
