"""`attribution waterfall`, `explain` and `decide`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from attribution import Store, explain, influenced
from attribution.measures.claims import claims
from attribution.testing import fill


@pytest.fixture
def store(tmp_path, monkeypatch):
    store = Store(tmp_path / "acme")
    fill(store, 150)
    monkeypatch.setenv("ATTRIBUTION_STORE", str(store.path))
    return store


def claimed(deals):
    """A claim on a won deal that nobody has approved: opportunity and partner."""
    found = claims(deals)
    waiting = (found.standing == 1) & (found.state == 1) & (deals.snapshot.deals.outcome[found.deal] == 1)
    pair = int(waiting.nonzero()[0][0])
    return deals.snapshot.deals.id[found.deal[pair]].decode(), deals.partners[found.partner[pair]]


def test_the_waterfall_adds_up_in_every_format(cli, store, tmp_path):
    document = cli.json("waterfall", "--by", "deal_type")
    amounts = [Decimal(row["amount"]) for row in document["rows"]]
    assert sum(amounts) == Decimal(document["total"]) == Decimal(document["selected"])
    assert document["by"] == ["deal_type", "step"]
    code, text, _ = cli("waterfall")
    assert code == 0
    assert [line.split()[0] for line in text.splitlines()[3:8]] == [
        *("sourced", "influenced", "unqualified", "exposed", "direct")
    ]
    code, _, err = cli("waterfall", "--by", "partner")
    assert (code, err.splitlines()[0]) == (2, "Error: a waterfall cannot be grouped by 'partner'")


def test_explain_prints_the_text_and_the_document_of_python(cli, store):
    deals = store.deals()
    opportunity, _ = claimed(deals)
    code, text, _ = cli("explain", opportunity[:15])
    assert (code, text) == (0, f"{explain(deals, opportunity)}\n")
    document = cli.json("explain", opportunity, "--model", "last_touch", "--model", "markov")
    assert list(document["credit"]) == ["last_touch", "markov"]
    assert document == json.loads(
        json.dumps(explain(deals, opportunity, models=()).to_dict() | {"credit": document["credit"]})
    )
    for credit in document["credit"].values():
        amounts = [Decimal(row["amount"]) for row in credit["rows"]]
        assert sum(amounts) + Decimal(credit["unattributed"]) == Decimal(document["amount"])
    assert cli.json("explain", "006NONE", code=2)["error"]["code"] == "usage"


def test_a_decision_is_made_and_told(cli, store):
    deals = store.deals()
    opportunity, partner = claimed(deals)
    before = datetime.now(UTC)
    words = ("decide", opportunity, partner.name.upper(), "--by", "Dana", "--reason", "I saw it.")
    code, text, _ = cli(*words, "--approve")
    assert code == 0
    assert text.startswith(f"influenced claim of {partner.name} on {opportunity} approved by Dana\n")
    assert f"  {partner.name}: influenced it, approved\n" in text
    assert "Its influence was approved by Dana on" in text
    document = cli.json(*words, "--reject", "--claim", "influenced")
    (told,) = [each for each in document["partners"] if each["partner_id"] == partner.id]
    assert (told["standing"], [each["approve"] for each in told["decisions"]]) == ("rejected", [True, False])
    told = cli.json(*words, "--reject", "--claim", "sourced")
    # which of the two a further decision means must be said
    assert "was decided before" in cli.json(*words, "--approve", code=2)["error"]["message"]
    # nothing of this was known before
    assert influenced(store.deals(known_at=before)).total() == influenced(deals).total()


def test_a_decision_is_known_from_the_end_of_its_day_in_the_zone(cli, store):
    deals = store.deals()
    opportunity, partner = claimed(deals)
    words = ("decide", opportunity, partner.id, "--approve", "--by", "Dana", "--reason", "I saw it.")
    end = datetime(2025, 2, 4, tzinfo=ZoneInfo(store.zone)).astimezone(UTC)
    document = cli.json(*words, "--at", "2025-02-03")
    (told,) = [each for each in document["partners"] if each["partner_id"] == partner.id]
    assert told["decisions"][0]["at"] == end.isoformat().replace("+00:00", "Z")
    assert told["reasons"][-1] == "Its influence was approved by Dana on 4 February 2025 at 00:00: I saw it."
    # an earlier decision that is entered later does not overrule it
    earlier = ("--at", (end - timedelta(hours=9)).isoformat())
    cli.json(*words[:3], "--reject", *words[4:], *earlier, "--claim", "influenced")
    assert explain(store.deals(), opportunity, models=()).standing_of(partner.id).state == "approved"
    for wrong, message in (("2099-01-01", "is still to come"), ("soon", "neither a date nor an instant")):
        code, _, err = cli(*words, "--at", wrong)
        assert (code, message in err) == (2, True)


def test_wrong_decisions_are_named(cli, store):
    opportunity, partner = claimed(store.deals())
    words = ("decide", opportunity, partner.id, "--by", "Dana", "--reason", "why")
    for given, message in (
        (words, "nothing is decided"),
        ((*words, "--approve", "--reject"), "both --approve and --reject"),
        ((*words[:2], "Nobody Inc", *words[3:], "--approve"), "there is no partner 'Nobody Inc'"),
        ((*words[:4], partner.name, *words[5:], "--approve"), "is the claimant"),
        ((*words, "--approve", "--claim", "helped"), "there is no 'helped' claim"),
    ):
        code, out, err = cli(*given)
        assert (code, out) == (2, "")
        assert message in err
