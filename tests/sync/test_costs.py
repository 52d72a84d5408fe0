"""Costs from mapped objects, over the wire: which records count, as of when, and in which currency."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import attribution as at
from attribution.cli import main
from attribution.errors import UsageError
from attribution.sync.suggestion import suggest
from attribution.testing import Org
from tests.loopback import NOON, connect

MAPPED = """
[[mapping.costs]]
object = "PartnerFundClaim"
partner = "ChannelPartnerId"
amount = "Amount"
incurred_at = "Spent_On__c"
only = [{ field = "Status", op = "in", value = ["Approved", "Paid"] }]
[[mapping.costs]]
object = "Programme_Budget__c"
amount = "Spent__c"
"""
Claims = dict[str, str]


@pytest.fixture
def org(monkeypatch: pytest.MonkeyPatch) -> Iterator[Org]:
    with Org(now=NOON, multi_currency=True) as org:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", org.ca_bundle)
        claim = """ChannelPartnerId > Account, Amount currency 18.2, Status picklist 40,
            Spent_On__c date, CurrencyIsoCode picklist 3, Title string 80"""
        org.add_object("PartnerFundClaim", "0pc", claim)
        org.add_object("Programme_Budget__c", "a02", "Spent__c currency 18.2, CurrencyIsoCode picklist 3")
        rates = {"USD": "1", "EUR": "0.5", "JPY": "160"}
        org.insert(
            "CurrencyType",
            [
                {"IsoCode": iso, "ConversionRate": Decimal(rate), "IsCorporate": iso == "USD"}
                | {"DecimalPlaces": 2, "IsActive": True}
                for iso, rate in rates.items()
            ],
        )
        spring = {"StartDate": date(2026, 3, 1), "NextStartDate": date(2026, 5, 1)}
        org.insert("DatedConversionRate", [{"IsoCode": "EUR", "ConversionRate": Decimal("0.8"), **spring}])
        yield org
    org.close()


def synced(org: Org, folder: Path, mapping: str = MAPPED) -> at.Store:
    org.advance(timedelta(minutes=30))
    folder.mkdir(exist_ok=True)
    (folder / "attribution.toml").write_text(mapping)
    store = at.Store(folder)
    store.sync(connect(org))
    return store


def claims(org: Org, partner: str | None, *rows: dict[str, Any]) -> list[str]:
    usual = {"ChannelPartnerId": partner, "Status": "Approved", "Spent_On__c": date(2026, 5, 20)}
    return org.insert("PartnerFundClaim", [usual | {"CurrencyIsoCode": "USD"} | row for row in rows])


def cost(deals: at.Deals, partner: str = "(all)", **more: Any) -> tuple[int, float | None]:
    rows = at.lifecycle(deals, **more).rows
    (row,) = [each for each in rows if (each["metric"], each["partner"]) == ("cost", partner)]
    return row["n"], row["value"]


def test_records_that_count_are_summed_in_the_report_currency(org: Org, tmp_path: Path) -> None:
    ann, bob, gone = org.insert("Account", [{"Name": name} for name in ("Ann", "Bob", "Gone")])
    claims(
        org,
        ann,
        {"Amount": Decimal("100.10")},
        {"Amount": Decimal(80), "CurrencyIsoCode": "EUR", "Spent_On__c": date(2026, 4, 30)},  # at 0.8: 100
        {"Amount": Decimal(80), "CurrencyIsoCode": "EUR", "Spent_On__c": date(2026, 5, 1)},  # at 0.5: 160
        {"Amount": Decimal(7), "Status": "Draft"},
        {"Amount": Decimal(7), "Status": None},
        {"Amount": Decimal(7), "Spent_On__c": date(2026, 6, 2)},  # not yet
    )
    claims(org, bob, {"Amount": None}, {"Amount": Decimal(7), "CurrencyIsoCode": "CHF", "Status": "paid"})
    (undone,) = claims(org, gone, {"Amount": Decimal(1000)}, {"Amount": Decimal(3)})[:1]
    org.delete("PartnerFundClaim", undone)
    org.delete("Account", gone)
    org.insert("Programme_Budget__c", [{"Spent__c": Decimal(500), "CurrencyIsoCode": "USD"}])
    store = synced(org, tmp_path)
    assert "Title" not in store.rows("PartnerFundClaim").columns
    deals = store.deals()
    assert cost(deals, "Ann") == (3, 360.1)
    # what was spent on an account that is gone was spent all the same
    assert cost(deals) == (5, 863.1)
    assert cost(deals, "Bob") == (0, None)
    notes = {row["partner"]: row["note"] for row in at.lifecycle(deals).rows if row["metric"] == "cost"}
    assert "those of PartnerFundClaim, Programme_Budget__c among them" in notes["(all)"]
    assert notes["(all)"].endswith("; costs without an amount in this currency, left out: 2")
    assert notes["Bob"].endswith("left out: 2")
    # a table comes on top
    assert cost(deals, costs={"partner": ["Ann", None], "amount": ["0.90", "1000"]}) == (7, 1864.0)
    assert cost(deals, "Ann", costs={"partner": ["Ann"], "amount": ["0.90"]}) == (4, 361.0)
    again = at.Store(store.path).deals()  # from the cache
    assert at.lifecycle(again).rows == at.lifecycle(deals).rows


def test_as_of_and_known_at_tell_the_state_of_a_claim(org: Org, tmp_path: Path) -> None:
    (ann,) = org.insert("Account", [{"Name": "Ann"}])
    draft = {"Amount": Decimal(100), "Status": "Draft", "Spent_On__c": date(2026, 5, 1)}
    changing, deleted = claims(org, ann, draft, {"Amount": Decimal(30), "Spent_On__c": date(2026, 5, 2)})
    store = synced(org, tmp_path)
    before = store.watermarks["PartnerFundClaim"]
    assert cost(store.deals()) == (1, 30.0)
    org.advance(timedelta(days=3))
    org.update("PartnerFundClaim", changing, Status="Paid", Amount=Decimal(110))
    org.delete("PartnerFundClaim", deleted)
    store = synced(org, tmp_path)
    assert cost(store.deals()) == (1, 110.0)
    # by then it was a draft; the other one is known to be deleted, and so was never there
    assert cost(store.deals(as_of=before)) == (0, None)
    assert cost(store.deals(as_of=before, known_at=before)) == (1, 30.0)
    assert cost(store.deals(as_of=datetime(2026, 5, 1, tzinfo=UTC))) == (0, None)
    # first read later than as_of: the first version tells what nobody saw
    org.update("PartnerFundClaim", changing, Amount=Decimal(120))
    store = synced(org, tmp_path)
    assert cost(store.deals()) == (1, 120.0)
    assert cost(store.deals(as_of=NOON + timedelta(days=3, minutes=45))) == (1, 110.0)
    assert cost(store.deals(as_of=datetime(2026, 5, 25, tzinfo=UTC))) == (0, None)


def test_a_field_mapped_later_leaves_earlier_versions_untold(org: Org, tmp_path: Path) -> None:
    (ann,) = org.insert("Account", [{"Name": "Ann"}])
    claims(org, ann, {"Amount": Decimal(30)})
    store = synced(org, tmp_path, MAPPED.replace('only = [{ field = "Status"', 'only = [{ field = "Name"'))
    before = store.watermarks["PartnerFundClaim"]
    org.advance(timedelta(days=1))
    store = synced(org, tmp_path)
    assert cost(store.deals()) == (1, 30.0)
    assert cost(store.deals(as_of=before)) == (1, 30.0)


def test_what_merged_away_costs_its_survivor(org: Org, tmp_path: Path) -> None:
    ann, twin = org.insert("Account", [{"Name": "Ann"}, {"Name": "Ann, Inc."}])
    claims(org, twin, {"Amount": Decimal(30)})
    org.merge("Account", ann, twin)
    assert cost(synced(org, tmp_path).deals(), "Ann") == (1, 30.0)


def test_the_command_counts_mapped_costs_and_a_file_on_top(
    org: Org, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ann,) = org.insert("Account", [{"Name": "Ann"}])
    claims(org, ann, {"Amount": Decimal("12.50")})
    store = synced(org, tmp_path / "store")
    (tmp_path / "salaries.csv").write_text("partner,amount\n,100\n")
    words = ["lifecycle", "--store", str(store.path), "--format", "csv"]
    for more, total in (([], "12.5"), (["--costs", str(tmp_path / "salaries.csv")], "112.5")):
        assert main([*words, *more]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert f"cost,(all),,{1 + len(more) // 2},{total}" in "\n".join(printed)


def test_doctor_suggests_fund_claims_as_they_can_be_mapped(org: Org, tmp_path: Path) -> None:
    (ann,) = org.insert("Account", [{"Name": "Ann"}])
    claims(org, ann, {"Amount": Decimal(30)}, {"Amount": Decimal(4), "Status": "Draft"})
    source = connect(org)
    suggested = suggest(source)
    assert "2 records" in suggested
    assert 'only = [{ field = "Status", op = "in", value = ["Approved", "Paid"] }]' in suggested
    assert cost(synced(org, tmp_path, suggested).deals(), "Ann") == (1, 30.0)


def test_without_costs_in_the_mapping_nothing_is_known_and_nothing_is_read(org: Org, tmp_path: Path) -> None:
    (ann,) = org.insert("Account", [{"Name": "Ann"}])
    claims(org, ann, {"Amount": Decimal(30)})
    store = synced(org, tmp_path, "[mapping]\n")
    assert "PartnerFundClaim" not in store.objects
    assert store.deals().snapshot.costs is None
    assert cost(store.deals()) == (0, None)


def test_what_the_org_lacks_is_told_by_line(org: Org, tmp_path: Path) -> None:
    claim = 'object = "PartnerFundClaim"\namount = "Amount"'
    for wrong, message in (
        (claim.replace("Partner", ""), "line 3: there is no object FundClaim; .*PartnerFundClaim"),
        (claim.replace("Amount", "Status"), "line 4: Status .* but amount must be a number"),
        (claim.replace("Amount", "Cost__c"), "line 4: PartnerFundClaim has no field Cost__c"),
        (
            f'{claim}\nonly = [{{ field = "State", value = "x" }}]',
            "line 5: PartnerFundClaim has no field State",
        ),
        (f'{claim}\npartner = "Amount"', "line 5: Amount .* but partner must be a lookup to Account"),
    ):
        with pytest.raises(UsageError, match=message):
            synced(org, tmp_path, f"\n[[mapping.costs]]\n{wrong}\n")
