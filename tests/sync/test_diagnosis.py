"""What doctor says of an org, of a store, and of what the connected user sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from attribution.cli import main
from attribution.mapping import Mapping
from attribution.store import Store
from attribution.sync.diagnosis import Diagnosis, ObjectDiagnosis, examine
from attribution.sync.inquiries import Won
from attribution.testing import Org
from tests.loopback import NOON, connect


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch) -> Iterator[Org]:
    settings = {"IsSandbox": True, "InstanceName": "EU42", "TrialExpirationDate": NOON + timedelta(days=9)}
    with Org(now=NOON, organization=settings) as org:
        for name, value in org.environment.items():
            monkeypatch.setenv(name, value)
        yield org
    org.close()


def doctor(org: Org, mirror: Path | None = None) -> Diagnosis:
    return examine(connect(org), Mapping(), mirror)


def of(diagnosis: Diagnosis, name: str) -> ObjectDiagnosis:
    return next(each for each in diagnosis.objects if each.object == name)


def deals(org: Org, *rows: dict[str, Any]) -> list[str]:
    usual = {"Name": "d", "StageName": "Closed Won", "CloseDate": date(2026, 5, 31)}
    return org.insert("Opportunity", [usual | row for row in rows])


def test_what_kind_of_organization_it_is(org: Org) -> None:
    told = doctor(org)
    assert str(told.edition) == "a sandbox, Enterprise Edition, EU42, a trial until 2026-06-10"
    assert told.to_dict()["organization"]["is_sandbox"] is True
    org.hide_field("Organization", "InstanceName")
    assert str(doctor(org).edition) == "a sandbox"
    org.hide_field("Organization", "IsSandbox")
    assert str(doctor(org).edition) == "sandbox or production: cannot tell"


def test_won_opportunities_per_quarter_as_this_user_sees_them(org: Org) -> None:
    cents = [{"Amount": Decimal("0.10")}, {"Amount": Decimal("0.20")}, {}]
    first, *_ = deals(org, {"Amount": Decimal(7), "CloseDate": date(2026, 4, 1)}, *cents)
    deals(org, {"CloseDate": date(2025, 12, 31)}, {"StageName": "Prospecting", "Amount": Decimal(9)})
    told = doctor(org)
    assert told.won == (Won("2026Q2", 4, Decimal("7.30")), Won("2025Q4", 1, None))
    assert told.to_dict()["won"][0] == {"quarter": "2026Q2", "n_deals": 4, "amount": "7.30"}
    assert "  2025Q4        1             no amount" in str(told)
    org.hide_record("Opportunity", first)
    assert doctor(org).won == (Won("2026Q2", 3, Decimal("0.30")), Won("2025Q4", 1, None))
    org.hide_field("Opportunity", "IsWon")
    assert doctor(org).won is None


def test_whether_the_user_sees_every_record(org: Org) -> None:
    told = doctor(org)
    assert (told.view_all_data, of(told, "Lead").sees_all) == (True, True)
    assert not any("revenue" in each for each in told.advice)
    org.see_all_data(granted=False)
    org.see_all_records("Account")
    told = doctor(org)
    assert (told.view_all_data, of(told, "Lead").sees_all, of(told, "Account").sees_all) == (
        False,
        False,
        True,
    )
    (advice,) = (each for each in told.advice if "revenue may silently be too low" in each)
    assert "Opportunity" in advice
    assert "Account," not in advice
    assert "OpportunityStage" not in advice
    for unknown in ("ObjectPermissions", "UserPermissionAccess"):
        org.remove_object(unknown)
        told = doctor(org)
        assert of(told, "Lead").sees_all is None
    assert told.view_all_data is None
    assert "Salesforce does not tell" in str(told)
    assert any("does not tell whether this user sees all records" in each for each in told.advice)


def test_what_the_store_holds_and_how_old_it_is(org: Org, tmp_path: Path) -> None:
    known = org.insert("Account", [{"Name": f"{n}"} for n in range(20)])
    org.advance(timedelta(minutes=30))
    store = Store(tmp_path)
    fresh = of(doctor(org, tmp_path / "mirror"), "Account")
    assert (fresh.watermark, fresh.age, fresh.expected_calls, fresh.rows) == (None, None, 3, 20)
    store.sync(connect(org))
    org.hide_record("Account", known[0])
    org.advance(timedelta(hours=5))
    store.sync(connect(org), objects=["Account"], reconcile=True)
    org.advance(timedelta(days=3))
    told = doctor(org, tmp_path / "mirror")
    account = of(told, "Account")
    assert (account.watermark, account.age) == (store.watermarks["Account"], timedelta(days=3))
    assert (account.unseen, account.expected_calls, account.sees_purges) == (1, 4, True)
    assert any("no longer sees, and that may be deleted: 1 of Account" in each for each in told.advice)
    document = told.to_dict()
    assert json.loads(json.dumps(document)) == document
    (row,) = (each for each in document["objects"] if each["object"] == "Account")
    assert row == {
        "object": "Account",
        "verdict": "synced",
        "rows": 19,
        "missing_fields": [],
        "sees_purges": True,
        "sees_all": False,
        "watermark": "2026-06-01T17:30:00Z",
        "age_seconds": 3 * 86_400,
        "expected_calls": 4,
        "unseen": 1,
        "reason": None,
    }
    lines = {line.split()[0]: line.split() for line in str(told).splitlines() if line}
    assert lines["Account"][1:] == ["synced", "19", "4", "3", "days", "no", "yes", "1", "unseen"]


def test_the_command_looks_at_the_store(org: Org, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store(tmp_path).sync(connect(org), objects=["Account"])
    org.advance(timedelta(hours=2))
    assert main(["doctor", "--store", str(tmp_path), "--json"]) == 0
    objects = {each["object"]: each for each in json.loads(capsys.readouterr().out)["objects"]}
    assert (objects["Account"]["age_seconds"], objects["Lead"]["age_seconds"]) == (7200, None)
    assert main(["doctor"]) == 0
    assert "the connected user sees all records (View All Data)" in capsys.readouterr().out
