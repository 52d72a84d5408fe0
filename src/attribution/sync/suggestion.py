"""A mapping for an org that nobody has mapped yet: what its names, labels and lookups tell of partners."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from attribution.errors import CrmError
from attribution.sync.descriptions import FieldDescription, ObjectDescription, ObjectSummary

if TYPE_CHECKING:
    from attribution.sync.salesforce import Salesforce

__all__ = ["suggest"]

_MOST: Final = 25
"""Objects that are looked at closely; each costs up to three API calls."""
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PARTNER: Final = re.compile(
    r"\b(partner\w*|resell\w*|referr\w*|referal\w*|channel\w*|allianc\w*|distribut\w*|disti|vars?|si|gsi|isv|msp"
    r"|vendor\w*|agenc\w*|integrator\w*|affiliate\w*|introduc\w*|co ?sell\w*|broker\w*|sourced|sourcing)\b"
)
_SOURCING: Final = re.compile(r"\b(sourc\w*|referr\w*|referal\w*|introduc\w*|origin\w*|register\w*)\b")
_REGISTRATION: Final = re.compile(r"\b(registration\w*|deal ?reg\w*|registered|(deal|partner) claims?)\b")
_DEAL: Final = re.compile(r"\b(deal|opportunity|opp|lead)s?\b")
_OVERLAP: Final = re.compile(r"\b(overlap\w*|crossbeam)\b")
_OCCURRED: Final = re.compile(
    r"\b(submi\w*|registered|registration|request\w*|occurred|happened|introduced|referred|engaged|found|matched|filed|start)\b"
)
_EXPIRES: Final = re.compile(r"\b(expir\w*|valid (until|to|through)|ends?|end date)\b")
_APPROVED_AT: Final = re.compile(r"\b(approv\w*|accept\w*)\b")
_STATUS: Final = re.compile(r"\b(approval|status|state|stage|decision)\b")
_APPROVED: Final = re.compile(
    r"\b(approved|accepted|granted|active|registered|won|converted)\b|^(ok|okay|yes)$"
)
_REJECTED: Final = re.compile(
    r"\b(reject\w*|declin\w*|denied|refused|cancel\w*|withdrawn|lost|duplicate)\b|^no$"
)
_UNDECIDED: Final = re.compile(r"\b(not|un\w+|non)\b")
_PROGRAM: Final = re.compile(r"\b(program\w*|scheme)\b")
_NO_PARTNER: Final = frozenset({"AccountId", "PartnerAccountId", "ConvertedAccountId"})
"""Standard lookups to Account that are read anyway, or that name the customer."""

_FUND_CLAIM: Final = "PartnerFundClaim"
_SPENT: Final = re.compile(r"\b(approved|accepted|paid|settled|reimbursed)\b")

_JOINED: Final = ("Opportunity", "Lead", "Account", "Contact")
"""What leads to a deal, then what leads to a partner; an object between the two is looked at."""

Base = Literal["Opportunity", "Lead", "Campaign"]


@dataclass(frozen=True, slots=True)
class _Block:
    """One table of the mapping that is suggested."""

    table: str
    values: Mapping[str, object]
    remarks: tuple[str, ...]
    rows: int | None
    is_sure: bool = True
    """Whether something in the names tells of partners; otherwise it is written as a comment."""

    def lines(self) -> Iterator[str]:
        yield ""
        yield from (f"# {remark}" for remark in self.remarks)
        mark = "" if self.is_sure else "# "
        yield f"{mark}[[mapping.{self.table}]]"
        for name, value in self.values.items():
            yield f"{mark}{name} = {_toml(value)}"


def suggest(source: Salesforce) -> str:
    """Write a ``[mapping]`` of whatever in the org seems to tell of partners, as TOML, with its row counts.

    Looks at lookups to Account on Opportunity, Lead and Campaign, at custom objects between an opportunity
    or a lead and an account, at registrations, at account overlaps, and at fund claims. Reads no record.

    Raises
    ------
    CrmError
        If Salesforce cannot be reached or refuses the credentials.
    """
    objects = source.objects()
    describe = functools.lru_cache(maxsize=None)(source.describe)
    blocks: list[_Block] = []
    bases: tuple[Base, ...] = ("Opportunity", "Lead", "Campaign")
    for base in bases:
        if base in objects and objects[base].is_queryable:
            blocks += _lookups(source, describe(base), base)
    candidates = _candidates(objects, {name: describe(name) for name in _JOINED if name in objects})
    for name in candidates[:_MOST]:
        block = _touches(source, objects[name], describe(name))
        if block is not None:
            blocks.append(block)
    if _FUND_CLAIM in objects and objects[_FUND_CLAIM].is_queryable:
        blocks += _fund_claims(source, describe(_FUND_CLAIM))
    lines = [
        "# What in this org seems to tell of partners. Delete what does not; check the guesses; put the rest",
        "# into attribution.toml in the folder of the store, and run `attribution sync`.",
        "[mapping]",
    ]
    if not any(block.is_sure for block in blocks):
        lines.append("# Nothing was found whose name or label smells of partners.")
    # tables that are in use come first, and comments last
    for block in sorted(blocks, key=lambda block: (not block.is_sure, block.rows == 0)):
        lines += block.lines()
    if len(candidates) > _MOST:
        more = candidates[_MOST:]
        shown = ", ".join(more[:10]) + (", …" if len(more) > 10 else "")
        lines += ["", f"# Not looked at, to spare API calls: {len(more)} more objects ({shown})."]
    return "\n".join(lines) + "\n"


# -- what is looked at


def _lookups(source: Salesforce, description: ObjectDescription, base: Base) -> Iterator[_Block]:
    """Fields of a standard object that seem to name a partner account."""
    for field in description.fields.values():
        if field.refers_to != ("Account",) or field.name in _NO_PARTNER:
            continue
        words = _words(field.name, field.label)
        if not _PARTNER.search(words):
            continue
        values: dict[str, object] = {"object": base, "field": field.name}
        if base == "Opportunity":
            values["kind"] = "sourced_by" if _SOURCING.search(words) else "role"
        rows = _count(source, base, field)
        remarks = [f"{base}: {_label(field)}, filled in {_number(rows)} records"]
        if base == "Opportunity":
            remarks.append('"sourced_by" if the field names who brought the deal, "role" if who took part')
        yield _Block("lookups", values, tuple(remarks), rows)


def _candidates(
    objects: Mapping[str, ObjectSummary], described: Mapping[str, ObjectDescription]
) -> list[str]:
    """Custom objects worth a look, the most promising first; told without describing any of them."""
    children = {base: {child for child, _ in description.children} for base, description in described.items()}
    of_deals, of_partners = (
        set().union(*(children.get(name, set()) for name in names)) for names in (_JOINED[:2], _JOINED[2:])
    )
    joining = of_deals & of_partners
    ranked = []
    for summary in objects.values():
        if not summary.name.endswith("__c") or not summary.is_queryable:
            continue
        words = _words(summary.name, summary.label)
        is_named = bool(_REGISTRATION.search(words) or _OVERLAP.search(words))
        touches_deals = any(summary.name in found for found in children.values())
        smells = bool(_PARTNER.search(words)) and touches_deals
        if is_named or smells or summary.name in joining:
            ranked.append((not is_named, not smells, summary.name))
    return [name for _, _, name in sorted(ranked)]


def _touches(source: Salesforce, summary: ObjectSummary, description: ObjectDescription) -> _Block | None:
    """A mapping of one object, or None if it does not join a partner with a deal."""
    words = _words(summary.name, summary.label)
    if _OVERLAP.search(words):
        kind = "overlap"
    elif _REGISTRATION.search(words):
        kind = "deal_registration"
    else:
        kind = "role"
    found = _partner(description, kind)
    if found is None:
        return None
    partner, field = found
    ways = _ways(description, partner, kind)
    if not ways:
        return None
    values: dict[str, object] = {"object": summary.name, "kind": kind, "partner": partner} | ways
    remarks = [f"partner: {_label(field)}"]
    if kind == "overlap" and not field.refers_to:
        remarks[0] += ", text: the name of a partner's account"
    if kind == "role":
        remarks.append(
            'a row counts as taking part; if it says who brought the deal: kind = "introduction", '
            'strength = "strong", sourcing = true'
        )
    values |= _dates(description, kind)
    approval = None if kind == "overlap" else _approval(description)
    # a status that knows no approval tells something else of what is no registration
    if approval is not None and (kind == "deal_registration" or approval["approved"]):
        values["approval"] = approval
        remarks.append("approval: check what each value means; rejected records count nothing")
    rows = _count(source, summary.name, None)
    head = f"{summary.label or summary.name}: {_number(rows)} records"
    smells = kind == "overlap" or bool(_PARTNER.search(f"{words} {_words(field.name, field.label)}"))
    smells = smells or (kind == "deal_registration" and bool(_DEAL.search(words)))
    if not smells:
        remarks.append("nothing in its names tells of partners: remove the marks if they do")
    return _Block("touchpoints", values, (head, *remarks), rows, is_sure=smells)


def _fund_claims(source: Salesforce, description: ObjectDescription) -> Iterator[_Block]:
    """Salesforce's own object of what was paid to partners, as costs."""
    fields = description.fields
    if not {"ChannelPartnerId", "Amount"} <= set(fields):
        return
    values: dict[str, object] = {"object": _FUND_CLAIM, "partner": "ChannelPartnerId", "amount": "Amount"}
    if "Status" in fields:
        spent = [value for value in fields["Status"].values if _SPENT.search(_words(value))]
        spent = [value for value in spent if not _UNDECIDED.search(_words(value))]
        values["only"] = [{"field": "Status", "op": "in", "value": spent or ["Approved", "Paid"]}]
    rows = _count(source, _FUND_CLAIM, None)
    head = f"{_FUND_CLAIM}: {_number(rows)} records"
    yield _Block("costs", values, (head, "what partners cost, for `attribution lifecycle`"), rows)


# -- which field is what


def _partner(description: ObjectDescription, kind: str) -> tuple[str, FieldDescription] | None:
    """Field or path that names the partner's account, and the field that it begins with."""
    accounts = [field for field in _fields(description) if field.refers_to == ("Account",)]
    smelling = [field for field in accounts if _PARTNER.search(_words(field.name, field.label))]
    if smelling:
        return smelling[0].name, smelling[0]
    contacts = [
        field
        for field in _fields(description)
        if field.refers_to == ("Contact",) and _PARTNER.search(_words(field.name, field.label))
    ]
    if contacts:
        return f"{contacts[0].name.removesuffix('c')}r.AccountId", contacts[0]
    if kind == "overlap":
        named = [
            field
            for field in _fields(description)
            if field.type in ("string", "picklist") and _PARTNER.search(_words(field.name, field.label))
        ]
        # the partner's own name comes before what the partner calls the account
        named.sort(key=lambda field: "name" not in _words(field.name, field.label).split())
        return (named[0].name, named[0]) if named else None
    return (accounts[0].name, accounts[0]) if accounts else None


def _ways(description: ObjectDescription, partner: str, kind: str) -> dict[str, object]:
    """The lookups by which a record reaches its deal."""
    ways: dict[str, object] = {}
    wanted = {"opportunity": "Opportunity", "lead": "Lead", "contact": "Contact", "account": "Account"}
    if kind == "overlap":
        # an overlap is known of an account
        wanted = {"account": "Account"}
    taken = partner.replace("__r.AccountId", "__c")
    for name, target in wanted.items():
        for field in _fields(description):
            if field.refers_to == (target,) and field.name != taken:
                ways.setdefault(name, field.name)
    if kind == "role" and not {"opportunity", "lead"} & set(ways):
        return {}
    return ways


def _dates(description: ObjectDescription, kind: str) -> dict[str, object]:
    dates = [field for field in _fields(description) if field.type in ("date", "datetime")]
    custom = [field for field in dates if field.name.endswith("__c")]
    found: dict[str, object] = {}
    occurred = _first(custom, _OCCURRED, unless=(_EXPIRES, _APPROVED_AT))
    if occurred is not None:
        found["occurred_at"] = occurred.name
    program = _first(
        [field for field in _fields(description) if field.type in ("string", "picklist", "reference")],
        _PROGRAM,
    )
    if program is not None and kind != "overlap" and program.refers_to in ((), ("ChannelProgram",)):
        found["program"] = program.name
    expires = _first(custom, _EXPIRES)
    if expires is not None and kind == "deal_registration":
        found["expires_on"] = expires.name
    return found


def _approval(description: ObjectDescription) -> dict[str, object] | None:
    """The field that tells whether a registration was approved, and what its values seem to mean."""
    choices = [field for field in _fields(description) if field.type == "picklist" and field.values]
    fields = [field for field in choices if _STATUS.search(_words(field.name, field.label))]
    fields.sort(key=lambda field: not any(_meaning(value) == "approved" for value in field.values))
    if not fields:
        return None
    field = fields[0]
    meant = {value: _meaning(value) for value in field.values}
    approval: dict[str, object] = {"field": field.name}
    for state in ("approved", "rejected", "pending"):
        approval[state] = [value for value in field.values if meant[value] == state]
    dates = [each for each in _fields(description) if each.type in ("date", "datetime")]
    at = _first(dates, _APPROVED_AT, unless=(_EXPIRES,))
    return approval if at is None else approval | {"at": at.name}


def _meaning(value: str) -> Literal["approved", "rejected", "pending"]:
    words = _words(value)
    if _REJECTED.search(words):
        return "rejected"
    return "approved" if _APPROVED.search(words) and not _UNDECIDED.search(words) else "pending"


def _first(
    fields: Sequence[FieldDescription], wanted: re.Pattern[str], unless: Iterable[re.Pattern[str]] = ()
) -> FieldDescription | None:
    for field in fields:
        words = _words(field.name, field.label)
        if wanted.search(words) and not any(other.search(words) for other in unless):
            return field
    return None


def _fields(description: ObjectDescription) -> Iterator[FieldDescription]:
    """The org's own fields."""
    return (field for field in description.fields.values() if field.name.endswith("__c"))


# -- words


def _words(*names: str) -> str:
    """Names and labels as lower-case words: namespace, underscores, capitals and dashes aside.

    Examples
    --------
    >>> _words("acme__ReferringVAR__c", "Co-Sell Partner")
    'referring var co sell partner'
    """
    bare = (re.sub(r"^\w+?__(?=\w+__c$)|__c$", "", name) for name in names)
    return " ".join(word.lower() for name in bare for word in _WORDS.findall(name))


def _label(field: FieldDescription) -> str:
    return f"{field.name} ({' '.join(field.label.split())})" if field.label else field.name


def _number(rows: int | None) -> str:
    return "an unknown number of" if rows is None else f"{rows:,}"


def _count(source: Salesforce, object: str, field: FieldDescription | None) -> int | None:
    if field is not None and not field.is_filterable:
        return None
    try:
        return source.count(object, None if field is None else f"{field.name} != null")
    except CrmError:
        # too large to be counted in time, or hidden: the number is only a remark
        return None


def _toml(value: object) -> str:
    """A value as TOML spells it; JSON's strings and flags are TOML's."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
