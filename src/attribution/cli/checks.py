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
from attribution.cli.reports import Report, columns, report
from attribution.errors import UsageError

if TYPE_CHECKING:
    from attribution.policy import Policy

__all__ = ["audit", "settings", "what_if"]


@report(without=("by",))
def audit(asked: Report) -> None:
    """Evidence that is late, arranged, contradictory or lost, and the money that hangs on it."""
    from attribution.measures import auditing

    asked.write(auditing.audit(asked.deals, of=asked.of))


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


@report(without=("partner", "program"))
def what_if(
    asked: Report,
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
    deals = asked.deals
    policies: dict[str, Policy] = {**deals.policy.varied(**values), **others}
    found = sensitivity.what_if(deals, policies, of=asked.of)
    asked.write(found if by is None else found.per(*columns(by)))


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
