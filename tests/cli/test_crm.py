"""Filling a store from the command line: mappings that are suggested, refused, and overlaps from a file."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta

import pytest

from attribution import Store
from attribution.testing import Org


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch):
    """An org of two accounts, which the environment points to."""
    with Org(now=datetime(2026, 6, 1, 12, tzinfo=UTC)) as org:
        org.insert("Account", [{"Name": "Acme", "Type": "Partner"}, {"Name": "Globex"}])
        org.advance(timedelta(minutes=30))
        for name, value in org.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ATTRIBUTION_RETRY_BASE_SECONDS", "0")
        yield org
    org.close()


def test_a_sync_without_any_partner_points_to_doctor(cli, org, tmp_path):
    code, out, _ = cli("sync", "--store", tmp_path / "acme")
    assert code == 0
    assert "warning: nothing that was read tells of a partner" in out
    assert "attribution doctor --suggest" in out
    assert "attribution doctor --suggest" in cli("doctor")[1]


def test_doctor_suggests_a_mapping_that_a_sync_takes(cli, org, tmp_path):
    org.add_field("Opportunity", "Referring_Partner__c > Account")
    store = tmp_path / "acme"
    store.mkdir()
    code, toml, _ = cli("doctor", "--suggest")
    assert code == 0
    (store / "attribution.toml").write_text(toml)
    assert cli.json("doctor", "--suggest")["mapping"] == tomllib.loads(toml)["mapping"]
    cli.json("sync", "--store", store)
    assert "Referring_Partner__c" in Store(store).rows("Opportunity").columns
    (store / "attribution.toml").write_text(toml.replace('Referring_Partner__c"', 'Refering_Partner__c"'))
    code, _, err = cli("sync", "--store", store)
    assert code == 2
    assert "attribution.toml line " in err
    assert "has no field Refering_Partner__c; it has: Referring_Partner__c" in err
    code, out, _ = cli("doctor", "--store", store)
    assert (code, "wrong: " in out) == (2, True)


def test_overlaps_are_imported_once_and_wrong_ones_named(cli, org, tmp_path):
    store, file = tmp_path / "acme", tmp_path / "overlaps.csv"
    file.write_text("partner,account,occurred_on\n")
    assert cli("overlaps", file, "--store", store)[0] == 5
    cli("sync", "--store", store, "--object", "Account", "--object", "Organization")
    one, two = (row["Id"] for row in org.rows("Account")[:2])
    file.write_text(f"partner,account,occurred_on\n{one},{two},2026-01-31\n")
    assert cli.json("overlaps", file, "--store", store)["written"] == 1
    code, out, _ = cli("overlaps", file, "--store", store, "--replace")
    assert (code, out) == (0, "0 overlaps new or changed, 0 gone\n")
    assert Store(store).rows("Overlap").height == 1
    file.write_text(f"partner,account,occurred_on\n{one},{two},yesterday\n")
    code, _, err = cli("overlaps", file, "--store", store)
    assert (code, "line 2, column occurred_on: 'yesterday' is no date" in err) == (5, True)


def test_without_a_word_the_help_is_shown(cli):
    code, out, err = cli()
    assert (code, err) == (0, "")
    assert "doctor" in out


def test_the_store_of_another_organization_is_refused_by_doctor_too(cli, org, tmp_path):
    Store(tmp_path).claim("00D000000000001AAA")
    assert "belongs to organization" in cli.json("doctor", "--store", tmp_path, code=5)["error"]["message"]


def test_an_estimate_is_held_against_the_cap_of_calls_and_reads_all_again_if_asked(cli, org, tmp_path):
    cli("sync", "--store", tmp_path, "--object", "Account")
    again = cli.json("sync", "--store", tmp_path, "--object", "Account", "--plan")
    full = cli.json("sync", "--store", tmp_path, "--object", "Account", "--plan", "--full")
    assert full["rows"] == len(org.rows("Account")) > again["rows"] == 0
    assert (full["objects"][0]["from"], full["fits"]) == (None, True)
    # nothing newer is safe to read yet, and nothing was forgotten
    assert again["objects"][0]["from"] is not None
    capped = cli.json("sync", "--store", tmp_path, "--object", "Account", "--plan", "--max-api-calls", 2)
    assert (capped["api_calls_remaining"], capped["fits"]) == (2, False)
    assert (
        cli.json("sync", "--store", tmp_path, "--object", "Account", "--full")["objects"][0]["written"] == 0
    )


def test_a_store_that_may_not_be_read_says_so(cli, tmp_path):
    # whoever runs this may be allowed to read every file, but not a folder
    (tmp_path / "store.json").mkdir()
    assert "store.json cannot be read: " in cli.json("runs", "--store", tmp_path, code=5)["error"]["message"]
