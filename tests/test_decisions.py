"""Decisions about claims: kept for good, known from when they were made, and never by the claimant."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from attribution import Claim, Decision, Store, explain, influenced, sourced
from attribution.errors import DataError, StoreError, UsageError
from attribution.mirror.log import ObjectLog
from attribution.readings import DECISIONS, readings
from tests.records import _frame
from tests.small_org import ANN, BOB, CREATED, DEAL, PARTNER_USER, REP, REP_2, Org, at, row

DAY = timedelta(days=1)
NOW = datetime(2026, 9, 2, tzinfo=UTC)
INFLUENCED, SOURCED = Claim(DEAL, ANN, "influenced"), Claim(DEAL, BOB, "sourced")


def stored(path, org: Org) -> Store:
    """A store of a small org, read completely on 1 September."""
    store = Store(path)
    missing = set(readings(store.mapping)) - set(org.rows)
    store.claim("00D1", unavailable=missing)
    for name, rows in org.rows.items():
        frame = _frame(rows, at("09-01")).drop("_deleted", "_synced_at")
        frame = frame.with_columns(
            pl.lit(None, pl.String).alias(each) for each in ("Name",) if each not in frame
        )
        ObjectLog(path / "mirror", name).append(frame, synced_at=at("09-01"), watermark=at("09-01"))
    return store


@pytest.fixture
def store(tmp_path):
    """Ann met the customer; Bob has the older referral and Ann the younger one."""
    org = Org()
    org.won(at("06-01"))
    org.lead("00QBOB", CREATED - 3 * DAY, by="005PU2")
    org.meeting("00U1", at("02-01"), OwnerId="005PORTAL", CreatedById=REP_2)
    return stored(tmp_path / "acme", org)


def state(store, **cut):
    found = influenced(store.deals(**cut))
    (line,) = [line for line in found.by("partner").rows if line["partner"] == "Ann"]
    return {name: line[f"{name}_amount"] for name in ("approved", "claimed")}


def test_an_approval_counts_from_when_it_is_known(store):
    assert state(store) == {"approved": 0, "claimed": 100}
    made = store.decide(INFLUENCED, approve=True, by=REP, reason=" I was there. ", at=NOW)
    assert made == Decision(INFLUENCED, True, REP, "I was there.", NOW)
    assert state(store) == {"approved": 100, "claimed": 0}
    assert state(store, known_at=NOW) == {"approved": 100, "claimed": 0}
    assert state(store, known_at=NOW - timedelta(microseconds=1)) == {"approved": 0, "claimed": 100}
    # what was decided today holds of any past state of the deals, when this one was of 70
    assert state(store, as_of=at("07-01")) == {"approved": 70, "claimed": 0}


def test_the_newest_decision_holds_in_whatever_order_they_were_made(store):
    store.decide(INFLUENCED, approve=False, by=REP, reason="no", at=NOW + 2 * DAY)
    store.decide(INFLUENCED, approve=True, by=REP, reason="yes", at=NOW)
    assert not influenced(store.deals()).by("partner").rows
    assert state(store, known_at=NOW + DAY) == {"approved": 100, "claimed": 0}
    store.decide(INFLUENCED, approve=True, by=REP, reason="yes after all", at=NOW + 3 * DAY)
    assert state(store) == {"approved": 100, "claimed": 0}
    (ann,) = [each for each in explain(store.deals(), DEAL).partners if each.partner.name == "Ann"]
    assert [decision.reason for decision in ann.decisions] == ["yes", "no", "yes after all"]
    assert ann.reasons[-1] == f"Its influence was approved by {REP} on 4 September 2026: yes after all."


def test_a_rejected_source_is_out_and_the_next_wins(tmp_path):
    org = Org()
    org.won(at("06-01"))
    org.lead("00QBOB", CREATED - 3 * DAY, by="005PU2")
    org.lead("00QANN", CREATED - DAY, by=PARTNER_USER)
    store = stored(tmp_path / "acme", org)
    assert [line["partner"] for line in sourced(store.deals()).by("partner").rows] == ["Bob"]
    store.decide(SOURCED, approve=False, by=REP, reason="we gave them the lead", at=NOW)
    assert [line["partner"] for line in sourced(store.deals()).by("partner").rows] == ["Ann"]
    assert sourced(store.deals()).by("partner").foot["contested_deals"] == 0
    told = explain(store.deals(), DEAL)
    (bob,) = [each for each in told.rivals if each.partner.name == "Bob"]
    assert bob.reasons[0] == (
        f"Its claim to have sourced it was rejected by {REP} on 1 September 2026: we gave them the lead."
    )
    assert told.partners[0].claim == Claim(DEAL, ANN, "sourced")
    store.decide(SOURCED, approve=True, by=REP, reason="they were first", at=NOW + DAY)
    assert [line["partner"] for line in sourced(store.deals()).by("partner").rows] == ["Bob"]


@pytest.mark.parametrize("by", [PARTNER_USER, REP_2, ANN, "ann", " Ann "])
def test_the_claimant_cannot_approve_but_may_withdraw(store, by):
    with pytest.raises(UsageError, match="is the claimant") as error:
        store.decide(INFLUENCED, approve=True, by=by, reason="it is ours", at=NOW)
    assert "did not record the evidence" in error.value.hint
    assert DECISIONS not in store.objects
    store.decide(INFLUENCED, approve=False, by=by, reason="we withdraw", at=NOW)
    assert not influenced(store.deals()).by("partner").rows


def test_a_user_of_the_partners_family_is_a_claimant(tmp_path):
    org = Org()
    org.won(at("06-01"))
    org.meeting("00U1", at("02-01"), OwnerId="005PORTAL")
    for account in org.rows["Account"]:
        if account["Id"] in (ANN, BOB):
            account["ParentId"] = "001GROUP"
    org.add("Account", row("001GROUP", CREATED, Name="Group"))
    store = stored(tmp_path / "acme", org)
    with pytest.raises(UsageError, match="is the claimant"):
        store.decide(INFLUENCED, approve=True, by="005PU2", reason="our sister did it", at=NOW)


def test_who_wrote_or_replaced_a_partner_row_is_a_claimant_and_the_owner_is_none(tmp_path):
    org = Org()
    org.won(at("06-01"))
    org.role("00I1", at("02-01"), CreatedById=REP_2, IsDeleted=True, SystemModstamp=at("02-03"))
    org.role("00I2", at("02-03"), CreatedById=REP)
    store = stored(tmp_path / "acme", org)
    with pytest.raises(UsageError, match="is the claimant"):
        store.decide(INFLUENCED, approve=True, by=REP_2, reason="mine", at=NOW)
    store.decide(INFLUENCED, approve=True, by=REP, reason="I own the deal", at=NOW)


def test_what_there_is_no_claim_of_cannot_be_decided(store):
    with pytest.raises(UsageError, match="no opportunity '006NONE'"):
        store.decide(Claim("006NONE", ANN, "sourced"), approve=True, by=REP, reason="why", at=NOW)
    with pytest.raises(UsageError, match="001CUSTOMER has no touchpoint") as error:
        store.decide(Claim(DEAL, "001CUSTOMER", "sourced"), approve=True, by=REP, reason="why", at=NOW)
    assert ANN in error.value.hint
    with pytest.raises(UsageError, match="reason is empty"):
        store.decide(INFLUENCED, approve=True, by=REP, reason=" ", at=NOW)
    with pytest.raises(UsageError, match="by is empty"):
        store.decide(INFLUENCED, approve=True, by="", reason="why", at=NOW)
    with pytest.raises(UsageError, match="has no time zone"):
        store.decide(INFLUENCED, approve=True, by=REP, reason="why", at=datetime(2026, 9, 2))
    with pytest.raises(UsageError, match="no 'assisted' claim"):
        Claim(DEAL, ANN, "assisted")
    assert DECISIONS not in store.objects


def test_nothing_can_be_decided_before_a_sync(tmp_path):
    with pytest.raises(DataError, match="nothing was synced"):
        Store(tmp_path / "new").decide(INFLUENCED, approve=True, by=REP, reason="why", at=NOW)


def test_one_decision_twice_is_one_and_two_at_once_are_refused(store):
    for _ in range(2):
        store.decide(INFLUENCED, approve=True, by=REP, reason="yes", at=NOW)
    assert store.rows(DECISIONS).height == 1
    with pytest.raises(UsageError, match="was approved at"):
        store.decide(INFLUENCED, approve=False, by=REP, reason="no", at=NOW)
    assert state(store) == {"approved": 100, "claimed": 0}


def decide(path, number, barrier):
    barrier.wait()
    claim, reason = (INFLUENCED, SOURCED)[number % 2], f"decision {number}"
    while True:
        try:
            Store(path).decide(claim, approve=True, by=REP, reason=reason, at=NOW + number * DAY)
        except StoreError:
            continue
        return


def test_of_decisions_made_at_once_none_is_lost(store):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    writers = [spawn.Process(target=decide, args=(store.path, number, barrier)) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [each.reason for each in store.deals().snapshot.decisions] == ["decision 0", "decision 1"]


def test_decisions_come_from_the_cache_as_they_went_in(store):
    store.decide(INFLUENCED, approve=True, by="Dana Ö.", reason='"yes"\n', at=NOW)
    first, second = store.deals().snapshot, Store(store.path).deals().snapshot
    assert first is not second
    assert first.decisions == second.decisions
    (decision,) = second.decisions
    assert (decision.by, decision.reason, decision.at) == ("Dana Ö.", '"yes"', NOW)


def test_a_decision_follows_a_partner_that_was_merged(tmp_path):
    org = Org()
    org.won(at("06-01"))
    org.role("00I1", at("02-01"), partner=BOB, CreatedById=REP_2)
    store = stored(tmp_path / "acme", org)
    store.decide(Claim(DEAL, BOB, "influenced"), approve=True, by=REP, reason="yes", at=NOW)
    log = ObjectLog(store.path / "mirror", "Account")
    bob = log.current().filter(pl.col("Id") == BOB).collect()
    gone = bob.with_columns(
        IsDeleted=pl.lit(value=True),
        MasterRecordId=pl.lit(ANN),
        SystemModstamp=pl.lit(NOW).cast(pl.Datetime("us", "UTC")),
    )
    log.append(gone, synced_at=NOW + DAY, watermark=NOW + DAY)
    assert state(store) == {"approved": 100, "claimed": 0}
