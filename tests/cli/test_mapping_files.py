"""Mapping and policy files that do not suit what was read: refused, by line, with all that is wrong."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'opportunity = "Opportunity__c"\naccount',
            'opportunity = "Partner_Account__c"\naccount',
            "opportunity must be a lookup to Opportunity",
        ),
        ('partner = "Partner__c"', 'partner = "Opportunity__c"', "partner must be a lookup to Account"),
        ('field = "Referred_By__c"', 'field = "CreatedById"', "is a lookup to User, but the field"),
        ('"Submitted_On__c"', '"Status__c"', "occurred_at must be a date or an instant"),
        ('"Expires_On__c"', '"IsDeleted"', "expires_on must be a date or an instant"),
        ('partner = "Partner__c"', 'partner = "Held_At__r.AccountId"', "cannot be followed"),
        ('amount_field = "Amount"', 'amount_field = "Industry__c"', "amount_field must be a number"),
        ('["Rejected"]', '["Rejected", "approved"]', "'approved' cannot be both approved and rejected"),
        ('strength = "weak"', 'strength = "exposure"\nsourcing = true', "not exposure"),
        ('"Implementation_Partner__c"', '"Referring_Partner__c"', "is listed twice in lookups"),
        ("[mapping]", "[maping]", "there is no section maping"),
        ("[mapping]\n", "", "there is no section amount_field"),
    ],
)
def test_a_mapping_that_does_not_suit_what_was_read_is_refused(cli, filled, tmp_path, old, new, message):
    text = (filled / "attribution.toml").read_text()
    assert old in text
    if "maping" in new or not new:
        text = text.partition("\nsegments")[0]
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(text.replace(old, new, 1))
    code, out, err = cli("sourced", "--store", filled, "--mapping", mapping)
    assert (code, out) == (2, "")
    assert f"{mapping} line " in err
    assert message in err


def test_all_that_is_wrong_with_a_mapping_is_told_at_once(cli, filled, tmp_path):
    text = (filled / "attribution.toml").read_text()
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(text.replace('"Submitted_On__c"', '"Status__c"').replace('"Held_At__c"', '"Lead__c"'))
    _, _, err = cli("sourced", "--store", filled, "--mapping", mapping)
    assert ("Status__c of Deal_Registration__c" in err, "Lead__c of Partner_Influence__c" in err) == (
        True,
        True,
    )
    mapping.write_text('[mapping]\nsegment = []\ncurrency = "euro"\n')
    _, _, err = cli("sourced", "--store", filled, "--mapping", mapping)
    assert ("line 2: there is no setting" in err, "line 3: currency" in err) == (True, True)


@pytest.mark.parametrize("option", ["--mapping", "--policy"])
def test_a_file_without_the_section_that_it_is_named_for_is_refused(cli, filled, tmp_path, option):
    (tmp_path / "x.toml").write_text("")
    code, _, err = cli("sourced", "--store", filled, option, tmp_path / "x.toml")
    assert (code, f"has no section [{option[2:]}]" in err) == (2, True)
