"""What a model is: anything that scores touchpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import Field, fields, is_dataclass
from datetime import timedelta
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from attribution.deals import Deals

__all__ = ["AttributionModel", "LearningModel", "Scores", "described", "model_name"]

Scores = NDArray[np.float64]


@runtime_checkable
class AttributionModel(Protocol):
    """A frozen value with :meth:`scores`; a class of your own needs nothing more.

    Windows, who may play, normalising, currency and rounding are no business of a model: they happen once,
    in :func:`attribution.attribute`.

    Examples
    --------
    Meetings count twice:

    >>> from dataclasses import dataclass
    >>> from attribution.columns import KINDS
    >>> @dataclass(frozen=True)
    ... class MeetingsTwice:
    ...     def scores(self, deals):
    ...         return np.where(deals.snapshot.touchpoints.kind == KINDS.index("meeting"), 2.0, 1.0)
    >>> isinstance(MeetingsTwice(), AttributionModel)
    True
    """

    def scores(self, deals: Deals) -> Scores:
        """Score every touchpoint of ``deals.snapshot``, in its order.

        Parameters
        ----------
        deals
            Deals whose snapshot holds the players only: every touchpoint in it may earn credit. A model
            that learns from data learns from ``deals.selected``.

        Returns
        -------
        One finite score >= 0 per touchpoint, of any scale: a touchpoint's share of its deal is its score
        divided by the sum of the deal's scores. Where all scores of a deal are 0, it is unattributed.
        """
        ...


@runtime_checkable
class LearningModel(AttributionModel, Protocol):
    """A model whose scores depend on other deals, and that can learn them again from a resample of these."""

    def resampled(self, deals: Deals, draws: Iterable[NDArray[np.int64]]) -> Iterator[Scores]:
        """Score as ``scores`` does, once per draw: how often each deal of the snapshot counts."""
        ...


def model_name(model: AttributionModel) -> str:
    """Name of a model in tables and on the command line; what its class calls it, if it has a ``__str__``.

    Examples
    --------
    >>> from datetime import timedelta
    >>> from attribution.models import FirstTouch, TimeDecay
    >>> model_name(FirstTouch()), model_name(TimeDecay(timedelta(days=7)))
    ('first_touch', 'time_decay(half_life=7d)')
    """
    named = type(model).__str__ is not object.__str__
    return str(model) if named else described(model)


def described(model: AttributionModel) -> str:
    """The class of a model with the parameters that are not its defaults."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(model).__name__).lower()
    parameters: tuple[Field[object], ...] = fields(model) if is_dataclass(model) else ()
    given = [
        f"{parameter.name}={_shown(getattr(model, parameter.name))}"
        for parameter in parameters
        if getattr(model, parameter.name) != parameter.default
    ]
    return f"{name}({', '.join(given)})" if given else name


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value / timedelta(days=1):g}d"
    # the address of a function is another one in every run
    return getattr(value, "__qualname__", "function") if callable(value) else str(value)
