"""Progress of a sync, per object, on a terminal's stderr; silent everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attribution.sync.report import Progress

__all__ = ["progress"]


@contextmanager
def progress() -> Iterator[Callable[[Progress], None] | None]:
    """Show a bar per object while a sync runs; None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>14}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(event: Progress) -> None:
            if event.object not in tasks:
                tasks[event.object] = bars.add_task(event.object, rate="")
            task = tasks[event.object]
            bars.update(task, completed=event.rows, total=event.total)
            speed = bars.tasks[task].speed
            bars.update(task, rate=f"{speed:,.0f} rows/s" if speed else "")

        yield show
