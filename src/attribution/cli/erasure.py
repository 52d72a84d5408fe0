"""The command that erases a record from a store."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from attribution.cli.options import AsJson, Debug, MappingFile, StorePath, open_store, read_mapping

__all__ = ["erase"]


def erase(
    record: Annotated[
        str, typer.Option("--record", metavar="ID", help="The record, by its id of 15 or 18 characters.")
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="Remove the record altogether, and never read it again.")
    ] = False,
    store: StorePath = None,
    mapping: MappingFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Erase what a record says of a person, in every version of it; if interrupted, run it again."""
    erasure = open_store(store).erase(record, all=everything, mapping=read_mapping(mapping))
    sys.stdout.write(json.dumps(erasure.to_dict()) + "\n" if as_json else f"{erasure}\n")
