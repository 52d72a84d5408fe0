"""Settings written as commented TOML: read back, they are equal, down to the hash."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution import Mapping, Policy, UsageError
from attribution.mapping import KINDS
from attribution.testing import generate

TEXTS = st.text(max_size=12)
LISTS = st.lists(TEXTS, max_size=3).map(tuple)
DAYS = st.integers(0, 36_500)
FIELDS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,5}(\.[A-Za-z][A-Za-z0-9_]{0,5})?", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,5}", fullmatch=True)

POLICIES = st.fixed_dictionaries(
    {},
    optional={
        **{name: DAYS for name in Policy.model_fields if name.endswith("_days")},
        **dict.fromkeys(("sourcing_roles", "partner_lead_sources", "partner_team"), LISTS),
        "void_by": st.sampled_from([(), ("open_opportunity",)]),
    },
).map(Policy.model_validate)


@st.composite
def approvals(draw):
    values = draw(st.lists(TEXTS, max_size=4, unique_by=str.lower))
    found = {"field": draw(FIELDS), "approved": values[:1], "rejected": values[1:2], "pending": values[2:]}
    return found | ({"at": draw(FIELDS)} if draw(st.booleans()) else {})


CONDITIONS = st.one_of(
    st.fixed_dictionaries({"field": FIELDS, "op": st.just("in"), "value": LISTS}),
    st.fixed_dictionaries({"field": FIELDS, "op": st.just("contains"), "value": TEXTS}),
    st.fixed_dictionaries(
        {"field": FIELDS, "op": st.just("!="), "value": st.one_of(TEXTS, st.booleans(), st.integers())}
    ),
    st.fixed_dictionaries({"field": FIELDS, "op": st.just("is_null")}, optional={"value": st.booleans()}),
)
LOOKUPS = st.one_of(
    st.fixed_dictionaries(
        {"object": st.just("Opportunity"), "field": FIELDS, "kind": st.sampled_from(["sourced_by", "role"])}
    ),
    st.fixed_dictionaries({"object": st.sampled_from(["Lead", "Campaign"]), "field": FIELDS}),
)
TOUCHES = st.fixed_dictionaries(
    {"object": NAMES, "kind": st.sampled_from(KINDS), "partner": FIELDS, "account": FIELDS},
    optional={
        "opportunity": FIELDS,
        "occurred_at": FIELDS,
        "strength": st.sampled_from(["strong", "weak"]),
        "sourcing": st.booleans(),
        "approval": approvals(),
    },
)
MAPPINGS = st.fixed_dictionaries(
    {},
    optional={
        "amount_field": NAMES,
        "currency": st.sampled_from(["USD", "JPY"]),
        "time_zone": st.just("America/New_York"),
        "partner_types": LISTS,
        "segments": st.lists(FIELDS, max_size=3),
        "deal_type": st.fixed_dictionaries(
            {"field": FIELDS}, optional={"values": st.dictionaries(TEXTS, st.just("renewal"), max_size=3)}
        ),
        "opportunity": st.fixed_dictionaries({"exclude": st.lists(CONDITIONS, max_size=3)}),
        "lookups": st.lists(LOOKUPS, max_size=3, unique_by=lambda each: (each["object"], each["field"])),
        "touchpoints": st.lists(TOUCHES, max_size=3),
    },
).map(Mapping.model_validate)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("settings") / "attribution.toml"


@settings(deadline=None)
@given(given=st.one_of(POLICIES, MAPPINGS))
def test_what_is_written_is_read_back_equal(file, given):
    given.to_toml(file)
    again = type(given).from_toml(file)
    assert again == given
    assert again.hash == given.hash
    assert again.to_toml() == given.to_toml()


@settings(deadline=None, max_examples=20)
@given(policy=POLICIES, mapping=MAPPINGS)
def test_both_sections_share_a_file(file, policy, mapping):
    file.write_text(mapping.to_toml() + "\n" + policy.to_toml(), encoding="utf-8")
    assert (Policy.from_toml(file), Mapping.from_toml(file)) == (policy, mapping)


@pytest.mark.parametrize("given", [Policy(), Mapping(), generate(5, 1).mapping])
def test_every_setting_is_there_with_its_meaning(given):
    text = given.to_toml()
    for name, field in type(given).model_fields.items():
        assert re.search(rf"^(# )?({name}\b.*=|\[\[mapping\.{name}\]\])", text, re.MULTILINE), name
        meaning = (field.description or "").replace("``", "").split()[:4]
        assert f"# {' '.join(meaning)}" in text


def test_what_is_at_its_default_is_pinned():
    # a later version may have other defaults: the file then still says what it said
    assert tomllib.loads(Policy().to_toml())["policy"].keys() == Policy.model_fields.keys()


def test_what_a_file_says_wrongly_is_named_with_its_line(tmp_path):
    file = tmp_path / "policy.toml"
    text = Policy().to_toml()
    line = text.splitlines().index("late_days = 7") + 1
    for old, new, message in (
        ("late_days = 7", 'late_days = "soon"', f"line {line}: late_days = 'soon'"),
        ("late_days = 7", "later_days = 7", f"line {line}: there is no setting 'later_days'"),
        ("late_days = 7", "late_days = -1", f"line {line}: late_days = -1"),
        ("late_days = 7", "late_days = 7\nlate_days = 8", "is not TOML"),
        ("[policy]", "[mapping]", "has no section"),
    ):
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(UsageError, match=message):
            Policy.from_toml(file)
    with pytest.raises(UsageError, match="cannot read"):
        Policy.from_toml(tmp_path / "none.toml")


def test_policies_that_differ_in_one_setting_each():
    base = Policy(late_days=3)
    varied = base.varied(influence_window_days=[90, 365], void_by=[[], ["open_opportunity"]])
    assert {name: base.differences(policy) for name, policy in varied.items()} == {
        "influence_window_days = 90": {"influence_window_days": (365, 90)},
        "influence_window_days = 365": {},
        "void_by = []": {"void_by": (("open_opportunity",), ())},
        'void_by = ["open_opportunity"]': {},
    }
    for wrong, message in (
        ({"late_day": [1]}, "no setting 'late_day'"),
        ({"late_days": [timedelta(7)]}, "late_days = "),
        ({"late_days": [-1]}, "late_days = -1"),
    ):
        with pytest.raises(UsageError, match=message):
            base.varied(**wrong)
