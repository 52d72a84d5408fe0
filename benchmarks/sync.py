"""What a sync costs: pages to typed columns, and the wire to a committed table, beside their peers.

    python benchmarks/sync.py 1000000 2000000

For each number of opportunities: an org on loopback, in a process of its own, whose CPU does not count, and a
process per job, three times in turn; the least of each counts. Figures are seconds of CPU and of wall clock,
and megabytes of memory at the peak over those of the same process before it began; quote them as ratios
within one run.
"""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

_NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
_PAGE: Final = 50_000
_ROUNDS: Final = 3
_WORTH_ROUNDS: Final = 100_000
"""So many rows take long enough for a quiet second to matter."""


def main(sizes: list[int]) -> None:
    """Print one line per size and job, and how many times less CPU ours takes than its peer's."""
    sys.stdout.write(f"{'rows':>11}  {'job':<44}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}\n")
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, _served(size) as environment:
            rows = _least(size, Path(folder), environment)
            for job, (title, _) in JOBS.items():
                row = rows[job]
                figures = f"{row['cpu']:>8.2f}{row['wall']:>8.2f}{row['peak']:>9.0f}"
                sys.stdout.write(f"{row['rows']:>11,}  {title:<44}{figures}\n")
            cpu = {job: row["cpu"] for job, row in rows.items()}
            sys.stdout.write(
                f"{size:>11,}  times less CPU: pages {cpu['text'] / cpu['columns']:.1f}, "
                f"csv fed with bytes {cpu['lists'] / cpu['columns']:.1f}, "
                f"and rows dropped {cpu['dicts'] / cpu['columns']:.1f}; "
                f"sync {cpu['peer'] / cpu['sync']:.1f}\n"
            )


def _least(size: int, folder: Path, environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The round of each job that took the least CPU: all jobs in turn, so that none has the quiet hour."""
    rounds = [
        {job: _measured(job, folder, environment) for job in JOBS}
        for _ in range(_ROUNDS if size >= _WORTH_ROUNDS else 1)
    ]
    return {job: min((each[job] for each in rounds), key=lambda row: row["cpu"]) for job in JOBS}


@contextmanager
def _served(size: int) -> Iterator[dict[str, str]]:
    words = [sys.executable, __file__, "--serve", str(size)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())
        # the end of its input ends it
        server.stdin.close()


def _measured(job: str, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    words = [sys.executable, __file__, f"--{job}", str(folder)]
    # one thread each: two on one processor's core take more CPU for the same work
    environment = environment | {"POLARS_MAX_THREADS": "1"}
    ran = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    for made in ("store", "peer"):
        shutil.rmtree(folder / made, ignore_errors=True)
    row: dict[str, Any] = json.loads(ran.stdout)
    return row


def _serve(size: int) -> None:
    """Be an org with so many opportunities until the input ends."""
    from attribution.testing import Org

    with Org(now=_NOW, quota=10**9) as org:
        (account,) = org.insert("Account", [{"Name": "Northgate"}])
        stages = ("Prospecting", "Negotiation/Review", "Closed Won", "Closed Lost")
        org.load(
            {
                "Opportunity": (
                    {
                        "Name": f'Deal {number}, "renewed"' if number % 10 == 0 else f"Deal {number}",
                        "AccountId": account,
                        "StageName": stages[number % 4],
                        "Amount": number % 100_000 + 0.25,
                        "CloseDate": (_NOW + timedelta(days=number % 365)).date(),
                        "Type": "New Business",
                        "LeadSource": "Web" if number % 3 else None,
                        "CreatedDate": _NOW - timedelta(seconds=number * 37),
                    }
                    for number in range(size)
                )
            }
        )
        # later than the span for which an org lists every id that has changed
        org.advance(timedelta(hours=2))
        sys.stdout.write(json.dumps(org.environment) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


# -- jobs; each is given a folder of its own kind and returns how many rows there were


def _fields() -> tuple[str, ...]:
    from attribution import Salesforce
    from attribution.mapping import Mapping
    from attribution.sync.planning import plan
    from attribution.sync.schema import Schema

    source, nothing = Salesforce.from_env(), Schema(Path(os.devnull), "nobody")
    planned = plan(source, Mapping(), only=["Opportunity"], calls_before=0, schema=nothing)
    return (*(name for name in planned.readable["Opportunity"].fields if name != "Id"), "Id")


def _soql() -> str:
    return f"SELECT {', '.join(_fields())} FROM Opportunity"


def _peer() -> Any:
    import requests
    from simple_salesforce import Salesforce as Peer

    session = requests.Session()
    session.verify = os.environ["REQUESTS_CA_BUNDLE"]
    url, token = os.environ["SALESFORCE_INSTANCE_URL"], os.environ["SALESFORCE_ACCESS_TOKEN"]
    return Peer(instance_url=url, session_id=token, session=session)


def _pages(folder: Path) -> int:
    """Fetch the pages that the next jobs read."""
    (folder / "pages").mkdir(exist_ok=True)
    for number, page in enumerate(_peer().bulk2.Opportunity.query(_soql(), max_records=_PAGE, wait=0.1)):
        (folder / "pages" / f"{number:04}.csv").write_text(page, encoding="utf-8", newline="")
    return _columns(folder)


def _columns(folder: Path) -> int:
    from attribution import Salesforce
    from attribution.sync.bulk import parsed
    from attribution.sync.rows import told_types, typed

    source, rows = Salesforce.from_env(), 0
    description, objects, fields = source.describe("Opportunity"), source.objects(), _fields()
    types = told_types(description, fields)
    pages = _bytes(folder)
    with _counted():
        for page in pages:
            rows += typed(parsed(page, fields, types), description, objects).rows.height
    return rows


def _reader(folder: Path) -> int:
    import polars as pl

    pages = _bytes(folder)
    with _counted():
        return sum(pl.read_csv(page, infer_schema=False).height for page in pages)


def _text(folder: Path) -> int:
    # as programs commonly write it
    pages = _bytes(folder)
    with _counted():
        return sum(len(list(csv.DictReader(io.StringIO(page.decode(), newline="")))) for page in pages)


def _lists(folder: Path) -> int:
    pages = _bytes(folder)
    with _counted():
        return sum(len(list(csv.DictReader(_stream(page)))) for page in pages)


def _dicts(folder: Path) -> int:
    pages = _bytes(folder)
    with _counted():
        return sum(1 for page in pages for _ in csv.DictReader(_stream(page)))


def _bytes(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((folder / "pages").iterdir())]


def _stream(page: bytes) -> io.TextIOWrapper:
    # the fastest way to hand bytes to csv
    return io.TextIOWrapper(io.BytesIO(page), "utf-8", newline="")


def _sync(folder: Path) -> int:
    from attribution import Salesforce, Store

    source = Salesforce.from_env()
    with _counted():
        report = Store(folder / "store").sync(source, objects=["Opportunity"])
    return report.objects[0].written


def _dict_sync(folder: Path) -> int:
    import polars as pl
    from deltalake import write_deltalake

    crm, soql, rows = _peer(), _soql(), 0
    with _counted():
        for page in crm.bulk2.Opportunity.query(soql, max_records=_PAGE, wait=0.5):
            records = list(csv.DictReader(page.splitlines(keepends=True)))
            write_deltalake(str(folder / "peer"), pl.DataFrame(records), mode="append")
            rows += len(records)
    return rows


JOBS: Final[dict[str, tuple[str, Callable[[Path], int]]]] = {
    "pages": ("(fetching pages for the next five)", _pages),
    "columns": ("page bytes to checked, typed columns", _columns),
    "reader": ("  of which polars.read_csv, all as text", _reader),
    "text": ("  csv.DictReader of a page's text, rows kept", _text),
    "lists": ("  csv.DictReader fed with bytes, rows kept", _lists),
    "dicts": ("  csv.DictReader fed with bytes, rows dropped", _dicts),
    "sync": ("wire to a committed table", _sync),
    "peer": ("  bulk2.query + DictReader + write_deltalake", _dict_sync),
}
_taken: dict[str, float] = {}


@contextmanager
def _counted() -> Iterator[None]:
    """Measure what is done within, imports and connecting left out."""
    idle, wall, cpu = _memory("VmRSS"), time.perf_counter(), time.process_time()
    yield
    _taken.update(
        cpu=time.process_time() - cpu,
        wall=time.perf_counter() - wall,
        peak=_memory("VmHWM") - idle,
    )


def _memory(name: str) -> float:
    """Megabytes of this process: VmRSS now, VmHWM at the peak."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(int(sys.argv[2]))
    elif sys.argv[1:2] and sys.argv[1].startswith("--"):
        _, job = JOBS[sys.argv[1][2:]]
        sys.stdout.write(json.dumps({"rows": job(Path(sys.argv[2]))} | _taken) + "\n")
    else:
        main([int(size) for size in sys.argv[1:]] or [100_000])
