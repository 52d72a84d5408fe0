"""Commands that fill a store and look after it: doctor, sync, verify, runs, overlaps."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from attribution.cli.options import AsJson, Debug, MappingFile, StorePath, log_error, open_store, read_mapping
from attribution.cli.progress import progress
from attribution.errors import CrmError, DataError, StoppedEarly, StoreError, TransientCrmError, known

if TYPE_CHECKING:
    from attribution.sync.report import SyncReport

__all__ = ["doctor", "overlaps", "runs", "sync", "verify"]


def sync(
    objects: Annotated[
        list[str] | None,
        typer.Option("--object", help="Read only this object; repeatable.", show_default=False),
    ] = None,
    max_api_calls: Annotated[
        int | None,
        typer.Option(
            help="Stop before a further HTTP request; retries and logins count.", show_default=False
        ),
    ] = None,
    max_quota_percent: Annotated[
        float, typer.Option(help="Stop where the org has used so much of its API calls of 24 hours.")
    ] = 80.0,
    deadline: Annotated[
        float | None, typer.Option(help="Stop after so many seconds.", show_default=False)
    ] = None,
    jitter: Annotated[float, typer.Option(help="Wait a random part of so many seconds first.")] = 0.0,
    parallel: Annotated[int, typer.Option(help="How many objects are read at once.")] = 4,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Only estimate the API calls, per object and in all; write nothing."),
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="Read every record again, and not only what changed."),
    ] = False,
    reconcile: Annotated[
        bool,
        typer.Option("--reconcile", help="Compare every id as well: finds whatever was missed or vanished."),
    ] = False,
    max_vanished_percent: Annotated[
        float,
        typer.Option(help="With --reconcile: touch nothing where more of an object's records have vanished."),
    ] = 10.0,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(help="json: a line on stderr per object, one at the end, and one for an error."),
    ] = "text",
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
    if plan:
        estimate = kept.plan(
            source,
            mapping=settings,
            objects=objects,
            full=full,
            reconcile=reconcile,
            max_api_calls=max_api_calls,
            max_quota_percent=max_quota_percent,
        )
        sys.stdout.write(json.dumps(estimate.to_dict()) + "\n" if as_json else f"{estimate}\n")
        return
    try:
        with progress() as show:
            report = kept.sync(
                source,
                mapping=settings,
                objects=objects,
                progress=None if log_format == "json" else show,
                log=_log if log_format == "json" else None,
                max_api_calls=max_api_calls,
                max_quota_percent=max_quota_percent,
                deadline=deadline,
                jitter=jitter,
                parallel=parallel,
                full=full,
                reconcile=reconcile,
                max_vanished_percent=max_vanished_percent,
            )
    except StoppedEarly as stopped:
        if stopped.report is None:
            raise
        _print(stopped.report, as_json=as_json)
        if not as_json:
            raise
        if log_format == "json":
            log_error(stopped)
        else:
            sys.stderr.write(f"stopped: {stopped.message}\n")
        raise typer.Exit(stopped.exit_code) from stopped
    _print(report, as_json=as_json)
    if report.failed:
        names = known(each.object for each in report.failed)
        error = TransientCrmError(f"not read: {names}", hint="what was complete is kept; run it again")
        if log_format == "text":
            for each in report.failed:
                sys.stderr.write(f"failed: {each.object}: {each.message}\n")
        elif as_json:
            log_error(error)
        if not as_json:
            raise error
        raise typer.Exit(error.exit_code)


def runs(store: StorePath = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """List the syncs of a store, the newest first."""
    kept = open_store(store)
    if kept.organization_id is None:
        raise StoreError(f"there is no store at {kept.path}", hint="see --store, or run `attribution sync`")
    found = kept.runs[::-1]
    if as_json:
        sys.stdout.write(json.dumps({"runs": found}) + "\n")
        return
    row = "{:<22}{:<9}{:>11}{:>11}{:>9}{:>9}{:>7}  {}\n".format
    names = ("read", "written", "deleted", "rejected", "api_calls")
    sys.stdout.write(row("started", "outcome", "read", "written", "deleted", "rejected", "calls", "not read"))
    for run in found:
        left = [each["object"] for each in run["objects"] if each["status"] != "ok"]
        why = "".join(run["warnings"][:1]) if run["outcome"] != "ok" and not run["objects"] else ""
        counts = (f"{run[name]:,}" for name in names)
        sys.stdout.write(
            row(run["started_at"], run["outcome"], *counts, _short(", ".join(left) or why or "-"))
        )


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:119]}…"


def _log(record: Mapping[str, Any]) -> None:
    sys.stderr.write(json.dumps(record) + "\n")


def _print(report: SyncReport, *, as_json: bool) -> None:
    sys.stdout.write(json.dumps(report.to_dict()) + "\n" if as_json else f"{report}\n")


def verify(
    objects: Annotated[
        list[str] | None,
        typer.Option("--object", help="Compare only this object; repeatable.", show_default=False),
    ] = None,
    sample: Annotated[int, typer.Option(help="Records of each object to compare field by field.")] = 200,
    seed: Annotated[int, typer.Option(help="Chooses them: the same seed, the same records.")] = 0,
    max_quota_percent: Annotated[
        float, typer.Option(help="Stop where the org has used so much of its API calls of 24 hours.")
    ] = 80.0,
    store: StorePath = None,
    mapping: MappingFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare the store to Salesforce, up to its watermarks: counts per month, and a sample of records."""
    from attribution.sync.salesforce import Salesforce

    kept = open_store(store)
    found = kept.verify(
        Salesforce.from_env(),
        mapping=read_mapping(mapping),
        objects=objects,
        sample=sample,
        seed=seed,
        max_quota_percent=max_quota_percent,
    )
    sys.stdout.write(json.dumps(found.to_dict()) + "\n" if as_json else f"{found}\n")
    if found.has_drift:
        raise typer.Exit(DataError.exit_code)
    if found.failed:
        raise typer.Exit(CrmError.exit_code)


def doctor(
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Print a mapping of what seems to tell of partners, as TOML.")
    ] = False,
    store: StorePath = None,
    mapping: MappingFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what will and will not be synced, and why; writes nothing."""
    from attribution.mapping import Mapping
    from attribution.mirror.folder import Folder
    from attribution.sync import suggestion
    from attribution.sync.diagnosis import examine
    from attribution.sync.salesforce import Salesforce

    if suggest:
        toml = suggestion.suggest(Salesforce.from_env())
        document = {"toml": toml} | tomllib.loads(toml)
        sys.stdout.write(json.dumps(document) + "\n" if as_json else toml)
        return
    kept = None if store is None else open_store(store)
    settings = read_mapping(mapping) or (Mapping() if kept is None else kept.mapping)
    source = Salesforce.from_env()
    if kept is not None:
        Folder(kept.path).check_organization(source.organization_id)
    diagnosis = examine(source, settings, None if kept is None else kept.path / "mirror")
    sys.stdout.write(json.dumps(diagnosis.to_dict()) + "\n" if as_json else f"{diagnosis}\n")
    if diagnosis.blocked:
        raise typer.Exit(2)


def overlaps(
    file: Annotated[Path, typer.Argument(help="CSV: partner, account, occurred_on or found_at, source.")],
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Overlaps of the same sources that the file lacks count as deleted."),
    ] = False,
    store: StorePath = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Import account overlaps from a CSV file, for orgs where no object holds them."""
    added = open_store(store).import_overlaps(file, replace=replace)
    document = {"file": str(file), "written": added.written, "deleted": added.deleted}
    told = f"{added.written} overlaps new or changed, {added.deleted} gone\n"
    sys.stdout.write(json.dumps(document) + "\n" if as_json else told)
