"""How long models take, beside their peers: one seeded table, each tool in a process of its own.

    pip install '.[bench]'
    python benchmarks/models.py 100000 1000000

Six rule models (first, last, linear, position, time decay, weighted by kind) are summed by partner and
program; ``from Parquet`` begins at the file, ``loaded`` at what each tool holds in memory. Figures are CPU
seconds of one thread, the median of three runs; compare rows of one run, not of different machines.
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
from pathlib import Path
from statistics import median

PARTNERS, PROGRAMS, KINDS = 200, 12, 8
DAY = 86_400
HALF_LIFE = 30 * DAY
WEIGHTS = (1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 2.0)
JOBS = ("ours", "duckdb", "polars", "ChannelAttribution", "marketing-attribution-models")


def main(sizes: list[int]) -> None:
    """Print a line per size, tool and task."""
    sys.stdout.write(f"{'deals':>10}  {'tool':<30}{'task':<34}{'CPU s':>9}{'peak GB':>9}\n")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for size in sizes:
            _run(folder, size, "fill")
            for job in JOBS:
                for line in _run(folder, size, job):
                    sys.stdout.write(f"{size:>10,}  {job:<30}{line}\n")


def _run(folder: str, size: int, job: str) -> list[str]:
    # one thread each: what a tool saves by spreading over cores is no saving
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    command = [sys.executable, __file__, "--job", job, folder, str(size)]
    ran = subprocess.run(command, env=os.environ | single, capture_output=True, text=True)
    if ran.returncode:
        return [f"{'failed: ' + ran.stderr.strip().splitlines()[-3:]}"]
    return [line.removeprefix("| ") for line in ran.stdout.splitlines() if line.startswith("| ")]


def timed(task: str, work: Callable[[], object], runs: int = 3) -> None:
    """Run and print."""
    import resource

    took = []
    for _ in range(runs):
        started = time.process_time()
        work()
        took.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sys.stdout.write(f"| {task:<34}{median(took):>9.3f}{peak:>9.2f}\n")


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
    from attribution.models import chains

    rules = [at.FirstTouch(), at.LastTouch(), at.Linear(), at.Position(), at.TimeDecay()]
    rules.append(at.Weighted(dict(zip(KINDS, WEIGHTS, strict=False))))
    deals = _load(folder)
    offsets, touchpoints = deals.snapshot.touchpoints.offsets, deals.snapshot.touchpoints
    group = touchpoints.partner * np.int32(PROGRAMS) + touchpoints.program
    amount = deals.snapshot.deals.amount

    def shares() -> None:
        for model in rules:
            credit._shares(model.scores(deals), offsets)

    def summed(made: at.Deals) -> None:
        at_deal = np.repeat(amount, np.diff(offsets))
        for model in rules:
            np.bincount(group, credit._shares(model.scores(made), offsets) * at_deal)

    timed("shares of six rules, loaded", shares)
    timed("six rules summed, loaded", lambda: summed(deals))
    timed("six rules summed, from Parquet", lambda: summed(_load(folder)))
    weights = credit._shares(rules[-1].scores(deals), offsets)
    timed("exact cents of one weighted model", lambda: money.allocate(amount, weights, offsets))
    at.attribute(deals, at.Linear())
    quarter = deals.where(closed="2024Q3")
    timed("filter, credit, group by", lambda: at.attribute(quarter, at.Linear()).by("partner", "program"))
    for order in (1, 2):
        timed(f"Markov order {order}: the chain", lambda order=order: chains.fit(deals, order, "partner"))
    timed("Markov order 1 with its effects", lambda: at.Markov().scores(deals))


def _load(folder: Path):
    import numpy as np
    import polars as pl

    from attribution.columns import Party
    from attribution.deals import Deals

    def instants(seconds):
        return seconds * 1_000_000

    rows, found = pl.read_parquet(folder / "t.parquet"), pl.read_parquet(folder / "d.parquet")
    n, size = len(found), len(rows)
    column = {name: rows[name].to_numpy() for name in rows.columns}
    began = int(column["at"].min())
    bits = {"at": 27, "partner": 8, "program": 4, "kind": 3}
    keys = column["deal"].astype(np.int64)
    for name, width in bits.items():
        keys <<= width
        keys |= column[name] - (began if name == "at" else 0)
    keys.sort()
    sorted_rows = {}
    for name, width in reversed(bits.items()):
        sorted_rows[name] = keys & ((1 << width) - 1)
        keys >>= width
    day = datetime(2026, 1, 1, tzinfo=UTC)
    one = Deals.from_frames(
        {"id": ["0"], "created_at": [day], "closed_at": [day], "is_won": [True], "amount": [1]},
        {"deal_id": ["0"], "occurred_at": [day], "partner": ["0"], "program": ["0"]},
        as_of=datetime(2027, 1, 1, tzinfo=UTC),
    )
    snapshot = one.snapshot
    closed = found["closed"].to_numpy()
    deals = {
        name: np.broadcast_to(getattr(snapshot.deals, name)[:1], n)
        for name in snapshot.deals.__dataclass_fields__
        if name != "segments"
    } | {
        "closed_at": instants(closed),
        "closed_on": (closed // DAY).astype(np.int32),
        "created_at": instants(np.full(n, began)),
        "outcome": np.where(found["won"].to_numpy(), 1, 2).astype(np.int8),
        "amount": found["minor"].to_numpy(),
    }
    touched = {
        name: np.broadcast_to(getattr(snapshot.touchpoints, name)[:1], size)
        for name in ("flags", "tier", "recorded_at", "object", "record", "role")
    } | {
        "offsets": np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=n))]),
        "occurred_at": instants(sorted_rows["at"] + began),
        "partner": sorted_rows["partner"].astype(np.int32),
        "program": sorted_rows["program"].astype(np.int16),
        "kind": sorted_rows["kind"].astype(np.int8),
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
    timed("six rules summed, from Parquet", lambda: connection.execute(text).fetchall())


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

    timed("six rules summed, from Parquet", work)


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
    timed("first, last, linear, loaded", lambda: ChannelAttribution.heuristic_models(rows, "path", "won"))
    for order in (1, 2):
        fitted = {"var_null": "lost", "order": order, "ncore": 1, "verbose": False}
        timed(
            f"Markov order {order} with its effects",
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
    timed("linear, loaded", lambda: made.run_linear())
    timed("position, loaded", lambda: made.run_position_based())
    timed("Markov order 1 with its effects", lambda: made.run_markov(), 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        name = {"ChannelAttribution": "channel_attribution"}.get(sys.argv[2], sys.argv[2].replace("-", "_"))
        globals()[name](Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main([int(size) for size in sys.argv[1:]] or [100_000])
