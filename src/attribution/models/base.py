"""What a model is: anything that scores touchpoints."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from attribution.deals import Deals

__all__ = ["AttributionModel", "Scores", "model_name"]

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
    >>> from attribution.deals import KINDS
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


def model_name(model: AttributionModel) -> str:
    """Name of a model in tables and on the command line, with its parameters if it has any.

    Examples
    --------
    >>> from attribution.models import FirstTouch
    >>> model_name(FirstTouch())
    'first_touch'
    """
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(model).__name__).lower()
    parameters: list[str] = [field.name for field in fields(model)] if is_dataclass(model) else []
    given = ", ".join(f"{parameter}={getattr(model, parameter)}" for parameter in parameters)
    return f"{name}({given})" if given else name
