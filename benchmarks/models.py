"""How long models take, beside their peers: one seeded table, each tool in a process of its own.

    pip install '.[bench]'
    python benchmarks/models.py 100000 1000000

Six rule models (first, last, linear, position, time decay, weighted by kind) are summed by partner and
program; ``from Parquet`` begins at the file, and every tool reads the columns that it needs. All other tasks
begin at what a tool holds in memory: our arrays, the peers' data frame of paths as text. Every tool runs on
one thread; a figure is the least of five runs (one, of what takes long). Compare rows of one run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

PARTNERS, PROGRAMS, KINDS = 200, 12, 8
DAY = 86_400
HALF_LIFE = 30 * DAY
WEIGHTS = (1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 2.0)
JOBS = ("ours", "duckdb", "polars", "ChannelAttribution", "marketing-attribution-models")
SUMMED = "six rules summed, from Parquet"
"""Of this task every tool has the same input; otherwise each has its own, already loaded."""
PEERS = (
    ("duckdb", SUMMED),
    ("polars", SUMMED),
    ("ChannelAttribution", "first, last, linear"),
    ("ChannelAttribution", "Markov order 1, effects"),
    ("ChannelAttribution", "Markov order 2, effects"),
    ("marketing-attribution-models", "linear"),
    ("marketing-attribution-models", "position"),
    ("marketing-attribution-models", "Markov order 1, effects"),
)


def main(sizes: list[int]) -> None:
    """Print a line per size, tool and task, then what they come to."""
    sys.stdout.write(f"{'deals':>10}  {'tool':<30}{'task':<34}{'CPU s':>9}{'wall s':>9}{'peak GB':>9}\n")
    took: dict[tuple[int, str, str], tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for size in sizes:
            _run(folder, size, "fill")
            for job in JOBS:
                for task, cpu, wall, peak in _run(folder, size, job):
                    sys.stdout.write(f"{size:>10,}  {job:<30}{task:<34}{cpu:>9.3f}{wall:>9.3f}{peak:>9.2f}\n")
                    sys.stdout.flush()
                    took[size, job, task] = cpu, wall
    for size in sizes:
        for tool, task in PEERS:
            pair = took.get((size, tool, task)), took.get((size, "ours", task))
            if pair[0] and pair[1]:
                cpu, wall = (its / our for its, our in zip(*pair, strict=True))
                sys.stdout.write(
                    f"{size:,} deals, {task}: {tool} takes {cpu:.1f} times our CPU, {wall:.1f} our wall\n"
                )
    for few, many in pairwise(sizes):
        for task in (task for size, job, task in took if (size, job) == (many, "ours")):
            times = took[many, "ours", task][0] / took[few, "ours", task][0]
            sys.stdout.write(f"t({many:,}) = {times:.1f} t({few:,}): {task}\n")


def _run(folder: str, size: int, job: str) -> list[tuple[str, float, float, float]]:
    # one thread each: what a tool saves by spreading over cores is no saving
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    # nobody gives freed memory back: polars and DuckDB keep it anyway, and the C library where it is told to
    single |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
    command = [sys.executable, __file__, "--job", job, folder, str(size)]
    ran = subprocess.run(command, env=os.environ | single, capture_output=True, text=True)
    if ran.returncode:
        sys.stdout.write(f"{size:>10,}  {job:<30}failed: {' '.join(ran.stderr.split()[-20:])}\n")
    lines = [line.removeprefix("| ").split("\t") for line in ran.stdout.splitlines() if line.startswith("| ")]
    return [(task, float(cpu), float(wall), float(peak)) for task, cpu, wall, peak in lines]


def timed(task: str, work: Callable[[], object], runs: int = 5) -> None:
    """Run and print the least of each time: what else the machine does only adds."""
    import resource

    cpu, wall = [], []
    for _ in range(runs):
        started = time.process_time(), time.perf_counter()
        work()
        cpu.append(time.process_time() - started[0])
        wall.append(time.perf_counter() - started[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sys.stdout.write(f"| {task}\t{min(cpu):.4f}\t{min(wall):.4f}\t{peak:.3f}\n")


def fill(folder: Path, n: int) -> None:
    """Ten touchpoints a deal on average, in no order; a third of the deals are won."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(20_240_611)
    counts = np.minimum(random.geometric(0.1, n), 60)
    deal = np.repeat(np.arange(n, dtype=np.int32), counts)
    size = len(deal)
    created = 1_700_000_000 + random.integers(0, 500 * DAY, n)
    lasted = random.integers(30 * DAY, 300 * DAY, n)
    order = random.permutation(size)
    touches = {
        "deal": deal,
        "at": created[deal] + (lasted[deal] * random.random(size)).astype(np.int64),
        "partner": np.minimum(PARTNERS * random.random(size) ** 2, PARTNERS - 1).astype(np.int16),
        "program": random.integers(0, PROGRAMS, size).astype(np.int8),
        "kind": random.integers(0, KINDS, size).astype(np.int8),
    }
    deals = {
        "closed": created + lasted,
        "won": random.random(n) < 0.35,
        "minor": np.round(np.exp(random.normal(9.5, 1.2, n)) * 100).astype(np.int64),
    }
    pl.DataFrame({name: column[order] for name, column in touches.items()}).write_parquet(
        folder / "t.parquet"
    )
    pl.DataFrame(deals).write_parquet(folder / "d.parquet")


def ours(folder: Path, n: int) -> None:
    """What this library does, its arrays made from the file by one sort of packed integers."""
    import numpy as np

    import attribution as at
    from attribution import money
    from attribution.columns import KINDS
    from attribution.measures import credit
    from attribution.models import absence, chains

    rules = [at.FirstTouch(), at.LastTouch(), at.Linear(), at.Position(), at.TimeDecay()]
    rules.append(at.Weighted(dict(zip(KINDS, WEIGHTS, strict=False))))

    def shares(made: at.Deals, models=rules):
        for model in models:
            yield credit._shares(model.scores(made), made.snapshot.touchpoints.offsets)

    def summed(made: at.Deals) -> None:
        touchpoints = made.snapshot.touchpoints
        amount = np.repeat(made.snapshot.deals.amount.astype(float), np.diff(touchpoints.offsets))
        group = touchpoints.partner * np.int32(PROGRAMS)
        group += touchpoints.program
        for each in shares(made):
            sums = np.zeros(PARTNERS * PROGRAMS)
            for first in range(0, len(each), 1 << 16):
                block = slice(first, first + (1 << 16))
                sums += np.bincount(group[block], each[block] * amount[block], minlength=len(sums))

    def by_partner(*models: at.AttributionModel) -> None:
        for each in shares(deals, models):
            np.bincount(deals.snapshot.touchpoints.partner, each)

    timed(SUMMED, lambda: summed(_load(folder, ["minor"])))
    deals = _load(folder)
    timed("shares of six rules", lambda: [None for _ in shares(deals)])
    timed("six rules summed", lambda: summed(deals))
    amount, offsets = deals.snapshot.deals.amount, deals.snapshot.touchpoints.offsets
    (weights,) = shares(deals, rules[-1:])
    timed("exact cents of one weighted model", lambda: money.allocate(amount, weights, offsets))
    timed("first, last, linear", lambda: by_partner(*rules[:3]))
    timed("linear", lambda: by_partner(at.Linear()))
    timed("position", lambda: by_partner(at.Position()))
    for order in (1, 2):
        timed(
            f"Markov order {order}, effects",
            lambda order=order: absence.removal_effects(chains.fit(deals, order, "partner")),
        )
    at.attribute(deals, at.Linear())
    timed(
        "filter, credit, group by",
        lambda: at.attribute(deals.where(closed="2024Q3"), at.Linear()).by("partner", "program"),
    )
    timed("attribute: all deals, to the cent", lambda: at.attribute(deals, at.Linear(), of="all"))


def _load(folder: Path, columns: list[str] | None = None):
    import numpy as np
    import polars as pl

    from attribution.columns import Party
    from attribution.deals import Deals

    rows = pl.read_parquet(folder / "t.parquet")
    found = pl.read_parquet(folder / "d.parquet", columns=columns)
    n, size = len(found), len(rows)
    began = int(rows["at"].min())
    # deal, instant, partner, program and kind in one integer, which is sorted: 20, 27, 8, 4 and 3 bits; in
    # blocks that stay in the processor's cache
    keys, filled = np.empty(size, dtype=np.int64), 0
    names = ("deal", "at", "partner", "program", "kind")
    for chunks in zip(*(rows[name].get_chunks() for name in names), strict=True):
        deal, at, partner, program, kind = (chunk.to_numpy() for chunk in chunks)
        facts = partner.astype(np.uint16)
        for column, width in ((program, 4), (kind, 3)):
            facts <<= width
            facts |= column.view(np.uint8)
        packed = keys[filled : filled + len(deal)]
        packed[:] = deal
        packed <<= 27
        packed += at
        packed -= began
        packed <<= 15
        packed |= facts
        filled += len(deal)
    del rows
    keys.sort()
    counts = np.zeros(n, dtype=np.int64)
    partner = np.empty(size, dtype=np.int32)
    program, kind = np.empty(size, dtype=np.int16), np.empty(size, dtype=np.int8)
    for first in range(0, size, 1 << 16):
        block = slice(first, first + (1 << 16))
        facts = keys[block].astype(np.uint16)
        kind[block] = facts & 7
        program[block] = (facts >> 3) & 15
        partner[block] = (facts >> 7) & 255
        instant = keys[block]
        deal = instant >> 42
        counts[deal[0] : deal[-1] + 1] += np.bincount(deal - deal[0])
        instant >>= 15
        instant &= (1 << 27) - 1
        instant += began
        instant *= 1_000_000
    day = datetime(2026, 1, 1, tzinfo=UTC)
    one = Deals.from_frames(
        {"id": ["0"], "created_at": [day], "closed_at": [day], "is_won": [True], "amount": [1]},
        {"deal_id": ["0"], "occurred_at": [day], "partner": ["0"], "program": ["0"]},
        as_of=datetime(2027, 1, 1, tzinfo=UTC),
    )
    snapshot = one.snapshot
    deals = {
        name: np.broadcast_to(getattr(snapshot.deals, name)[:1], n)
        for name in snapshot.deals.__dataclass_fields__
        if name != "segments"
    } | {"amount": found["minor"].to_numpy()}
    if "closed" in found:
        closed = found["closed"].to_numpy()
        deals |= {
            "closed_at": closed * 1_000_000,
            "closed_on": (closed // DAY).astype(np.int32),
            "created_at": np.full(n, began * 1_000_000),
            "outcome": np.where(found["won"].to_numpy(), 1, 2).astype(np.int8),
        }
    touched = {
        name: np.broadcast_to(getattr(snapshot.touchpoints, name)[:1], size)
        for name in ("flags", "tier", "recorded_at", "object", "record", "role")
    } | {
        "offsets": np.concatenate([[0], np.cumsum(counts)]),
        "occurred_at": keys,
        "partner": partner,
        "program": program,
        "kind": kind,
    }
    parties = [tuple(Party(str(at), str(at)) for at in range(each)) for each in (PARTNERS, PROGRAMS)]
    made = replace(
        snapshot,
        deals=replace(snapshot.deals, **deals),
        touchpoints=replace(snapshot.touchpoints, **touched),
        partners=parties[0],
        programs=parties[1],
        memo={},
    )
    return Deals(made, one.policy)


_SHARES = """
    case when place = 1 then 1.0 else 0.0 end as first,
    case when place = many then 1.0 else 0.0 end as last,
    1.0 / many as linear,
    case when many = 1 then 1.0 when many = 2 then 0.5 when place in (1, many) then 0.4
         else 0.2 / (many - 2) end as position
"""


def duckdb(folder: Path, n: int) -> None:
    """The same sums in one query with windows."""
    import duckdb

    weights = f"[{', '.join(map(str, WEIGHTS))}][kind + 1]"
    query = f"""
    with ordered as (
        select deal, partner, program, kind, d.minor,
            row_number() over (partition by deal order by t."at", partner, program, kind) as place,
            count(*) over (partition by deal) as many,
            pow(2.0, (t."at" - max(t."at") over (partition by deal)) / {HALF_LIFE}.0) as decayed,
            {weights} as weight
        from TOUCHES t join (select row_number() over () - 1 as deal, minor from DEALS) d using (deal)
    ), shared as (
        select *, {_SHARES},
            decayed / sum(decayed) over (partition by deal) as decay,
            weight / sum(weight) over (partition by deal) as weighted
        from ordered
    )
    select partner, program, sum(minor * first), sum(minor * last), sum(minor * linear),
        sum(minor * position), sum(minor * decay), sum(minor * weighted)
    from shared group by partner, program
    """
    connection = duckdb.connect(config={"threads": 1})
    files = {"TOUCHES": f"'{folder}/t.parquet'", "DEALS": f"'{folder}/d.parquet'"}
    text = query
    for name, file in files.items():
        text = text.replace(name, file)
    timed(SUMMED, lambda: connection.execute(text).fetchall())


def polars(folder: Path, n: int) -> None:
    """The same sums with over()."""
    import polars as pl

    place, many = pl.col("place"), pl.col("many")
    decayed = (pl.lit(2.0)).pow((pl.col("at") - pl.col("at").max().over("deal")) / HALF_LIFE)
    weight = pl.col("kind").replace_strict(dict(enumerate(WEIGHTS)), return_dtype=pl.Float64)

    def work() -> object:
        deals = pl.scan_parquet(folder / "d.parquet").select("minor").with_row_index("deal")
        rows = (
            pl.scan_parquet(folder / "t.parquet")
            .sort("deal", "at", "partner", "program", "kind")
            .join(deals.with_columns(pl.col("deal").cast(pl.Int32)), on="deal", maintain_order="left")
            .with_columns(
                place=pl.int_range(1, pl.len() + 1).over("deal"),
                many=pl.len().over("deal"),
                decayed=decayed,
                weight=weight,
            )
            .with_columns(
                first=(place == 1).cast(pl.Float64),
                last=(place == many).cast(pl.Float64),
                linear=1.0 / many,
                position=pl.when(many == 1)
                .then(1.0)
                .when(many == 2)
                .then(0.5)
                .when((place == 1) | (place == many))
                .then(0.4)
                .otherwise(0.2 / (many - 2)),
                decay=pl.col("decayed") / pl.col("decayed").sum().over("deal"),
                weighted=pl.col("weight") / pl.col("weight").sum().over("deal"),
            )
        )
        names = ("first", "last", "linear", "position", "decay", "weighted")
        sums = [(pl.col(name) * pl.col("minor")).sum() for name in names]
        return rows.group_by("partner", "program").agg(sums).collect()

    timed(SUMMED, work)


def _paths(folder: Path):
    import polars as pl

    rows = pl.read_parquet(folder / "t.parquet").sort("deal", "at")
    joined = rows.group_by("deal", maintain_order=True).agg(
        path=pl.concat_str(pl.lit("p"), pl.col("partner")).str.join(" > ")
    )
    won = pl.read_parquet(folder / "d.parquet")["won"].gather(joined["deal"])
    return joined.with_columns(won=won.cast(pl.Int64), lost=(~won).cast(pl.Int64)).to_pandas()


def channel_attribution(folder: Path, n: int) -> None:
    """Its heuristics and its Markov model at its default accuracy, from a loaded data frame."""
    import ChannelAttribution

    rows = _paths(folder)
    timed("first, last, linear", lambda: ChannelAttribution.heuristic_models(rows, "path", "won"))
    for order in (1, 2):
        fitted = {"var_null": "lost", "order": order, "ncore": 1, "verbose": False}
        timed(
            f"Markov order {order}, effects",
            lambda fitted=fitted: ChannelAttribution.markov_model(rows, "path", "won", **fitted),
            1,
        )


def marketing_attribution_models(folder: Path, n: int) -> None:
    """Its linear, position and Markov models, from a loaded data frame."""
    import mam
    import polars as pl

    paths = pl.from_pandas(_paths(folder))
    made = mam.MAM(
        paths.select(channels="path", converted=pl.col("won") > 0, n=pl.lit(1)),
        format_type="format_3",
        channels_colname="channels",
        journey_with_conv_colname="converted",
        occurrences_colname="n",
    )
    timed("linear", lambda: made.run_linear(), 1)
    timed("position", lambda: made.run_position_based(), 1)
    timed("Markov order 1, effects", lambda: made.run_markov(), 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        name = {"ChannelAttribution": "channel_attribution"}.get(sys.argv[2], sys.argv[2].replace("-", "_"))
        globals()[name](Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main([int(size) for size in sys.argv[1:]] or [100_000])
