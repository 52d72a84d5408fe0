"""The benchmarks run; what they measure is for people to judge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_deriving_is_measured_by_stage_and_size():
    ran = subprocess.run(
        [sys.executable, str(BENCHMARKS / "derive.py"), "20", "40"],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = ran.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "opportunities",
        *["20"] * 7,
        *["40"] * 7,
        lines[-1].split()[0],
    ]
    assert lines[-1].startswith("t(40) = ")


def test_a_sync_is_measured_beside_its_peers():
    script = BENCHMARKS / "sync.py"
    ran = subprocess.run([sys.executable, str(script), "6000"], check=True, capture_output=True, text=True)
    lines = ran.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["rows", *["6,000"] * 9]
    assert "times less CPU" in lines[-1]


def test_overlays_are_measured_beside_lifelines():
    ran = subprocess.run(
        [sys.executable, str(BENCHMARKS / "overlays.py"), "300"], check=True, capture_output=True, text=True
    )
    lines = ran.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["deals", "300", "300", "300", "lifelines"]


def test_models_are_measured_loaded_and_from_the_file(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "models.py"), "--job"]
    for job in ("fill", "ours"):
        ran = subprocess.run(
            [*command, job, str(tmp_path), "300"], check=True, capture_output=True, text=True
        )
    tasks = [line.removeprefix("| ").split("\t")[0] for line in ran.stdout.splitlines()]
    assert tasks[:3] == ["six rules summed, from Parquet", "shares of six rules", "six rules summed"]
    assert "Markov order 2, effects" in tasks
