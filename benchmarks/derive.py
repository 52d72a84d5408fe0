"""How long deriving takes: a filled store to Deals, stage by stage, and again from the cache.

    python benchmarks/derive.py 100000 1000000

Each size runs in a process of its own. Figures are seconds of wall clock and of CPU, and the peak memory of
the process; quote them as ratios between sizes of one run.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(sizes: list[int]) -> None:
    """Print one line per size and stage."""
    sys.stdout.write(
        f"{'opportunities':>14}{'touchpoints':>13}  {'stage':<22}{'wall s':>8}{'CPU s':>8}{'peak GB':>9}\n"
    )
    totals = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for size in sizes:
            store = Path(folder) / f"filled-{size}"
            _run("fill", store, size)
            for job in ("derive", "load"):
                for row in _run(job, store, size):
                    sys.stdout.write(
                        f"{size:>14,}{row['touchpoints']:>13,}  {row['stage']:<22}"
                        f"{row['wall']:>8.2f}{row['cpu']:>8.2f}{row['peak']:>9.2f}\n"
                    )
                    totals[row["stage"], size] = row["wall"]
    for size in sizes[1:]:
        ratio = totals["derive, in all", size] / totals["derive, in all", sizes[0]]
        sys.stdout.write(f"t({size:,}) = {ratio:.1f} x t({sizes[0]:,})\n")


def _run(job: str, store: Path, size: int) -> list[dict[str, object]]:
    ran = subprocess.run(
        [sys.executable, __file__, f"--{job}", str(store), str(size)],
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


def _job(job: str, store: Path, size: int) -> None:
    from attribution import Store

    if job == "--fill":
        from attribution.testing import fill

        fill(Store(store), size)
        return
    rows: list[dict[str, object]] = []
    if job == "--derive":
        from attribution.derive import snapshot

        for name in ("accounts", "opportunities", "partners", "gather", "touchpoint_columns"):
            setattr(snapshot, name, _timed(getattr(snapshot, name), name, rows))
    opened = Store(store)
    started = time.perf_counter(), time.process_time()
    deals = opened.deals()
    stage = "derive, in all" if job == "--derive" else "load from the cache"
    rows.append(_row(stage, *started))
    for row in rows:
        sys.stdout.write(json.dumps(row | {"touchpoints": len(deals.snapshot.touchpoints)}) + "\n")


def _timed(function, name, rows):
    def timed(*arguments, **options):
        started = time.perf_counter(), time.process_time()
        result = function(*arguments, **options)
        rows.append(_row(name, *started))
        return result

    return timed


def _row(stage: str, wall: float, cpu: float) -> dict[str, object]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "stage": stage,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": peak,
    }


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("--"):
        _job(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main([int(size) for size in sys.argv[1:]] or [10_000, 100_000])
