"""Commands that talk to Salesforce: doctor, sync."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from attribution.cli.options import AsJson, Debug, MappingFile, StorePath, open_store, read_mapping
from attribution.cli.progress import progress
from attribution.errors import TransientCrmError, known

__all__ = ["doctor", "sync"]


def sync(
    objects: Annotated[
        list[str] | None,
        typer.Option("--object", help="Read only this object; repeatable.", show_default=False),
    ] = None,
    store: StorePath = None,
    mapping: MappingFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Read what changed in Salesforce since the last time; stop it whenever you like and run it again."""
    from attribution.sync.salesforce import Salesforce

    kept = open_store(store)
    settings = read_mapping(mapping)
    source = Salesforce.from_env()
    with progress() as show:
        report = kept.sync(source, mapping=settings, objects=objects, progress=show)
    sys.stdout.write(json.dumps(report.to_dict()) + "\n" if as_json else f"{report}\n")
    if report.failed:
        names = known(each.object for each in report.failed)
        for each in report.failed:
            sys.stderr.write(f"failed: {each.object}: {each.message}\n")
        if not as_json:
            raise TransientCrmError(f"not read: {names}", hint="what was complete is kept; run it again")
        raise typer.Exit(TransientCrmError.exit_code)


def doctor(
    store: StorePath = None, mapping: MappingFile = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Say what will and will not be synced, and why; writes nothing."""
    from attribution.mapping import Mapping
    from attribution.sync.diagnosis import examine
    from attribution.sync.salesforce import Salesforce

    settings = read_mapping(mapping) or (Mapping() if store is None else open_store(store).mapping)
    diagnosis = examine(Salesforce.from_env(), settings)
    sys.stdout.write(json.dumps(diagnosis.to_dict()) + "\n" if as_json else f"{diagnosis}\n")
    if diagnosis.blocked:
        raise typer.Exit(2)
