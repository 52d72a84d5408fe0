"""How long overlays take: every metric over 2,400 slices, and lifelines in a loop over some of them.

    python benchmarks/overlays.py 100000 1000000

Seconds of wall clock and of CPU; memory is what the process takes above the deals themselves. lifelines fits
the cumulative incidence alone, slice by slice, of a sample of slices; its time for all of them is the
sample's, scaled. Quote figures as ratios within one run.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
import warnings
from datetime import UTC, datetime

import numpy as np
import polars as pl

import attribution as at
from attribution.measures.estimators import aalen_johansen, risk_table
from attribution.measures.intervals import Floats
from attribution.measures.slices import slices

PARTNERS, PROGRAMS, STAGES = 200, 12, 5
DAY = 86_400_000_000
NOW = datetime(2026, 11, 20, tzinfo=UTC)
SAMPLE = 24


def main(sizes: list[int]) -> None:
    """Print one line per size and step."""
    sys.stdout.write(
        f"{'deals':>10}{'slices':>8}{'rows':>9}  {'step':<34}{'wall s':>9}{'CPU s':>9}{'above GB':>10}\n"
    )
    for size in sizes:
        deals = _deals(size)
        before = _rss()
        peak, stop = _watch()
        started = _now()
        overlay = at.velocity(deals, by=("partner", "program"), bootstrap=0)
        took = _now() - started
        stop.set()
        _line(size, overlay, "velocity, all metrics", took, max(peak) - before)
        _against_lifelines(size, overlay, deals)


def _line(size: int, overlay: at.Overlay, step: str, took: Floats, above: float | None = None) -> None:
    memory = f"{above:>10.2f}" if above is not None else ""
    head = f"{size:>10,}{len(overlay.slices):>8,}{len(overlay):>9,}"
    sys.stdout.write(f"{head}  {step:<34}{took[0]:>9.2f}{took[1]:>9.2f}{memory}\n")
    sys.stdout.flush()


def _against_lifelines(size: int, overlay: at.Overlay, deals: at.Deals) -> None:
    """Cumulative incidence alone: ours of all slices, theirs of a sample."""
    from lifelines import AalenJohansenFitter

    cut = slices(deals, ("partner", "program"))
    of, deal = cut.created
    columns = deals.snapshot.deals
    time_ = np.minimum(columns.closed_at[deal], deals.snapshot.as_of) - columns.created_at[deal]
    event = columns.outcome[deal].astype(np.int64)
    started = _now()
    aalen_johansen(risk_table(time_, event, of, len(cut)))
    ours = _now() - started
    _line(size, overlay, "cumulative incidence of all slices", ours)
    bounds = np.searchsorted(of, np.arange(len(cut) + 1))
    chosen = np.linspace(0, len(cut) - 1, min(SAMPLE, len(cut))).astype(int)
    started = _now()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in chosen:
            mine = slice(bounds[each], bounds[each + 1])
            AalenJohansenFitter(seed=0).fit(time_[mine] / DAY, event[mine], event_of_interest=1)
    theirs = (_now() - started) * len(cut) / len(chosen)
    _line(size, overlay, f"lifelines, {len(chosen)} slices, scaled", theirs)
    sys.stdout.write(f"lifelines / ours = {theirs[0] / ours[0]:,.0f}\n")


def _deals(n: int) -> at.Deals:
    """Deals of three years with two partners each, in up to five stages."""
    draw = np.random.default_rng(5)
    now = int(NOW.timestamp()) * 1_000_000
    ids = pl.Series(np.arange(n)).cast(pl.String).str.zfill(9)
    created = now - draw.integers(1, 1_100 * DAY, n)
    life = (draw.exponential(90, n) * DAY).astype(np.int64) + DAY
    closed, won = created + life, draw.random(n) < 0.35
    is_open = closed > now
    touch = np.repeat(np.arange(n), 2)
    moves = draw.integers(1, STAGES + 1, n)
    moved = np.repeat(np.arange(n), moves)
    step = np.arange(len(moved)) - np.repeat(np.cumsum(moves) - moves, moves)
    entered = created[moved] + life[moved] * step // moves[moved]
    table = {
        "id": ids,
        "created_at": _instants(created),
        "closed_at": _instants(closed).set(pl.Series(is_open), None),
        "is_won": pl.Series(won).set(pl.Series(is_open), None),
        "amount": pl.Series(draw.integers(1_000, 100_000, n)),
        "currency": pl.repeat("USD", n, eager=True),
    }
    touches = {
        "deal_id": ids.gather(touch),
        "occurred_at": _instants(created[touch]),
        "partner": _named("Partner", draw.integers(0, PARTNERS, len(touch))),
        "program": _named("Program", draw.integers(0, PROGRAMS, len(touch))),
        "recorded_by_owner": pl.repeat(True, len(touch), eager=True),
    }
    stages = {
        "deal_id": ids.gather(moved),
        "stage": _named("Stage", step),
        "entered_at": _instants(entered),
    }
    return at.Deals.from_frames(table, touches, stages, as_of=NOW)


def _instants(micros: np.ndarray) -> pl.Series:
    return pl.Series(micros).cast(pl.Datetime("us", "UTC"))


def _named(what: str, code: np.ndarray) -> pl.Series:
    return what + " " + pl.Series(code).cast(pl.String).str.zfill(3)


def _now() -> Floats:
    """Wall clock and CPU, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def _rss() -> float:
    """Gigabytes that the process takes now; at most so far, where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e9
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _watch() -> tuple[list[float], threading.Event]:
    """Memory, noted again and again until the event is set."""
    seen, stop = [_rss()], threading.Event()

    def look() -> None:
        while not stop.wait(0.02):
            seen.append(_rss())

    threading.Thread(target=look, daemon=True).start()
    return seen, stop


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [100_000])
