"""Settings in TOML: what is refused, and on which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from attribution.errors import UsageError
from attribution.mapping import DealTypeRule, Mapping
from attribution.settings import read_toml

WHOLE = """\
# how we store things
[mapping]
amount_field = "ACV__c"
segments = ["Industry__c",
            "Region__c"]   # slices
opportunity.exclude = [
    { field = "RecordType.DeveloperName", op = "in", value = ["Internal"] },
    { field = "Name", op = "contains", value = "]}# [x]" },
]
deal_type = { field = "Kind__c", values = { "Renewal" = "renewal" } }

[[mapping.lookups]]
object = "Opportunity"
field = "Referring_Partner__c"
kind = "sourced_by"

[[mapping.lookups]]
object = 'Lead'
field = "Partner__c"

[[mapping.touchpoints]]
object = "Deal_Registration__c"
kind = "deal_registration"
partner = "Partner_Account__c"
opportunity = "Opportunity__c"
approval = { field = "Status__c", approved = ["Approved"], at = "Approved_On__c" }

[[mapping.touchpoints]]
object = "Influence__c"
kind = "intro"
strength = "strong"
partner = "Firm__c"
lead = "Lead__c"
[mapping.touchpoints.approval]
field = \"\"\"Stage__c\"\"\"
"""


def read(folder: Path, text: str) -> Mapping:
    (folder / "attribution.toml").write_text(text)
    return Mapping.from_file(read_toml(folder / "attribution.toml"), "mapping")


def test_every_setting_knows_its_line(tmp_path: Path) -> None:
    mapping = read(tmp_path, WHOLE)
    lines = {each.path: mapping.where(each.place).rpartition(" ")[2] for each in mapping.named()}
    text = WHOLE.splitlines()
    for path, line in lines.items():
        if path not in ("CreatedDate",):
            assert path in text[int(line) - 1], (path, line)
    assert mapping.where(("touchpoints", 1, "occurred_at")) == f"{tmp_path / 'attribution.toml'} line 28"
    assert mapping == Mapping.model_validate(mapping.model_dump())
    assert hash(mapping) == hash(read(tmp_path, WHOLE))


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (('segments = ["', 'segment = ["'), r"line 4: there is no setting 'segment'", "segments"),
        (('"Region__c"', '"Region c"'), r"line 5: segments\[1\] = 'Region c'", "known settings"),
        (
            ('op = "contains"', 'op = "like"'),
            r"line 8: opportunity\.exclude\[1\]\.op = 'like'",
            "field, op, value",
        ),
        (
            ('value = ["Internal"]', 'value = "x"'),
            r"line 7: opportunity\.exclude\[0\]: op 'in' takes a list",
            "op",
        ),
        (
            ('kind = "sourced_by"\n', ""),
            r"line 12: lookups\[0\]: a lookup on Opportunity needs a kind",
            "kind",
        ),
        (('partner = "Firm__c"\n', ""), r"line 28: touchpoints\[1\] needs partner", "partner"),
        (('lead = "Lead__c"\n', ""), r"line 28: touchpoints\[1\]: name one of opportunity, lead", "lead"),
        (
            ('strength = "strong"\n', ""),
            r"line 28: touchpoints\[1\]: kind 'intro' is new: give it",
            "strength",
        ),
        (
            ('at = "Approved', 'on = "Approved'),
            r"line 26: there is no setting 'touchpoints\[0\]\.approval\.on'",
            "at",
        ),
        (('"ACV__c"', "7"), r"line 3: amount_field = 7", "amount_field"),
        (('"ACV__c"', '"Other__r.ACV__c"'), r"line 3: amount_field", "amount_field"),
        (('"renewal" }', '"again" }'), r"line 10: deal_type\.values\.Renewal = 'again'", "field, values"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, change: tuple[str, str], message: str, hint: str
) -> None:
    assert change[0] in WHOLE
    with pytest.raises(UsageError, match=rf"attribution\.toml {message}") as refused:
        read(tmp_path, WHOLE.replace(*change))
    assert hint in str(refused.value.hint)


def test_lookalikes_come_first_in_the_hint(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, "[mapping]\npartner_type = []\n")
    assert str(refused.value.hint).startswith("known settings: partner_types, ")


def test_made_in_python_the_setting_is_named() -> None:
    mapping = Mapping(lookups=({"object": "Lead", "field": "Partner__c"},))
    (named,) = mapping.named()
    assert (named.object, named.path, named.meaning) == ("Lead", "Partner__c", "partner")
    assert mapping.where(named.place) == "lookups[0].field"


ODD = """\
"a.b" = 1979-05-27 07:32:00   # [not] = "a table"
'c'.d."e" = 1.5e3
f = '''
[[g]]
h = 1
'''
[x . "y z"]
i = { j = [ [1, 2],
            { k = "}" } ], l.m = [] }
[[x."y z".n]]
[[x."y z".n]]
o = "\\"]\\\\"
[x."y z".n.p]
q = [
  # nothing
]
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines_are_found_however_toml_is_written(tmp_path: Path, ending: str) -> None:
    (tmp_path / "x.toml").write_bytes(ODD.replace("\n", ending).encode())
    file = read_toml(tmp_path / "x.toml")
    x, n = ("x", "y z"), ("x", "y z", "n")
    places = {
        ("a.b",): 1,
        ("c", "d", "e"): 2,
        ("f",): 3,
        x: 7,
        (*x, "i"): 8,
        (*x, "i", "j", 0): 8,
        (*x, "i", "j", 1, "k"): 9,
        (*x, "i", "l", "m"): 9,
        (*n, 0): 10,
        (*n, 1, "o"): 12,
        (*n, 1, "p", "q"): 14,
        # whatever is not there stands with what is around it
        ("g",): 1,
        (*n, 1, "p", "r"): 13,
    }
    assert {place: file.line(place) for place in places} == places


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Existing Customer - Renewal", "renewal"),
        ("existing customer", "expansion"),
        ("Cross-Sell", "expansion"),
        ("NEW LOGO", "new"),
        ("Renewal", "unclassified"),
        ("Services", "unclassified"),
        (None, "unclassified"),
    ],
)
def test_deal_types_are_read_exactly_first(value: str | None, expected: str) -> None:
    assert DealTypeRule(values={"Renewal": "unclassified"}).type_of(value) == expected
