"""Commands that hold numbers against rules and records: audit, what-if, settings."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attribution.cli.options import (
    AsJson,
    Debug,
    MappingFile,
    PolicyFile,
    StorePath,
    read_mapping,
    read_policy,
)
from attribution.cli.reports import (
    AsOf,
    Closed,
    Format,
    FormatOf,
    KnownAt,
    Of,
    Out,
    Partners,
    Programs,
    columns,
    read_deals,
    write,
)
from attribution.errors import UsageError

if TYPE_CHECKING:
    from attribution.policy import Policy

__all__ = ["audit", "settings", "what_if"]


def audit(
    closed: Closed = None,
    of: Of = "won",
    as_of: AsOf = None,
    known_at: KnownAt = None,
    partner: Partners = None,
    program: Programs = None,
    store: StorePath = None,
    mapping: MappingFile = None,
    policy: PolicyFile = None,
    format: FormatOf = Format.table,
    as_json: AsJson = False,
    out: Out = None,
    debug: Debug = False,
) -> None:
    """Evidence that is late, arranged, contradictory or lost, and the money that hangs on it."""
    from attribution.measures import auditing

    deals = read_deals(store, mapping, policy, as_of, known_at)
    deals = deals.where(closed=closed, partner=partner, program=program)
    write(auditing.audit(deals, of=of), Format.json if as_json else format, out)


def settings(
    store: StorePath = None,
    mapping: MappingFile = None,
    policy: PolicyFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print every setting with its meaning and default: a complete attribution.toml to keep or to edit."""
    from attribution.mapping import Mapping
    from attribution.policy import Policy
    from attribution.store import Store

    kept = None if store is None else Store(store)
    how = read_mapping(mapping) or (Mapping() if kept is None else kept.mapping)
    rules = read_policy(policy) or (Policy() if kept is None else kept.policy)
    if as_json:
        document = {"mapping": how.model_dump(mode="json"), "mapping_hash": how.hash}
        document |= {"policy": rules.model_dump(mode="json"), "policy_hash": rules.hash}
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{how.to_toml()}\n{rules.to_toml()}")


def what_if(
    vary: Annotated[
        list[str] | None,
        typer.Option(help="SETTING=VALUE,VALUE: other values of a setting; repeatable.", show_default=False),
    ] = None,
    alternative: Annotated[
        list[Path] | None,
        typer.Option("--with", help="TOML file with another [policy]; repeatable.", show_default=False),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="The range per partner, program, ... instead.", show_default=False)
    ] = None,
    closed: Closed = None,
    of: Of = "won",
    as_of: AsOf = None,
    known_at: KnownAt = None,
    store: StorePath = None,
    mapping: MappingFile = None,
    policy: PolicyFile = None,
    format: FormatOf = Format.table,
    as_json: AsJson = False,
    out: Out = None,
    debug: Debug = False,
) -> None:
    """How far the headline numbers depend on the rules, and which rule moves them."""
    from attribution.measures import sensitivity
    from attribution.policy import Policy

    if not vary and not alternative:
        raise UsageError(
            "there is no policy to compare with", hint="pass --vary late_days=0,14 or --with FILE"
        )
    values: dict[str, list[Any]] = {}
    for text in vary or ():
        name, given = _variation(text)
        values.setdefault(name, []).extend(given)
    others = {str(path): Policy.from_toml(path) for path in alternative or ()}
    deals = read_deals(store, mapping, policy, as_of, known_at).where(closed=closed)
    policies: dict[str, Policy] = {**deals.policy.varied(**values), **others}
    found = sensitivity.what_if(deals, policies, of=of)
    write(found if by is None else found.per(*columns(by)), Format.json if as_json else format, out)


def _variation(text: str) -> tuple[str, list[Any]]:
    """A setting, and the values that it is to have in turn, spelled as in TOML."""
    name, equals, values = text.partition("=")
    try:
        found = tomllib.loads(f"values = [{values}]")["values"]
    except tomllib.TOMLDecodeError:
        found = []
    if not equals or not found:
        raise UsageError(
            f"--vary {text!r} says no values", hint="write late_days=0,14 or void_by=[],['open_opportunity']"
        )
    return name.strip(), found
