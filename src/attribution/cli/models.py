"""Models by name, with one option per parameter."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attribution.errors import UsageError, known

if TYPE_CHECKING:
    from attribution.measures.resampling import Bootstrap
    from attribution.models import AttributionModel

__all__ = [
    "Eligible",
    "First",
    "Game",
    "HalfLife",
    "Intervals",
    "Last",
    "Level",
    "LinearBy",
    "ModelName",
    "Order",
    "Pool",
    "Samples",
    "Seed",
    "WeightBy",
    "Weights",
    "duration",
    "read_intervals",
    "read_model",
    "read_models",
]

_PARAMETERS: dict[str, dict[str, str]] = {
    "bizible_u": {},
    "first_touch": {},
    "full_path": {},
    "last_touch": {},
    "linear": {"linear_by": "by"},
    "markov": {"order": "order", "level": "level"},
    "position": {"first": "first", "last": "last"},
    "shapley": {"game": "game", "samples": "samples", "seed": "seed"},
    "time_decay": {"half_life": "half_life"},
    "u_shaped": {},
    "w_shaped": {},
    "weighted": {"weight": "weights", "weight_by": "by"},
}
"""Options that a model takes, and the parameters they set."""

ModelName = Annotated[str, typer.Option(help=f"One of: {', '.join(_PARAMETERS)}.")]
First = Annotated[
    float | None, typer.Option(help="position: share of the first touchpoint [0.4].", show_default=False)
]
Last = Annotated[
    float | None, typer.Option(help="position: share of the last touchpoint [0.4].", show_default=False)
]
Game = Annotated[str | None, typer.Option(help="shapley: set or rate [set].", show_default=False)]
Samples = Annotated[
    int | None,
    typer.Option(help="shapley by rate: orders of joining beyond 20 partners [1000].", show_default=False),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Of the draws of --intervals, and of the orders of shapley by rate [0].", show_default=False
    ),
]
Intervals = Annotated[
    int | None,
    typer.Option(help="Limits of 95 % over so many draws of the deals, such as 200.", show_default=False),
]
Pool = Annotated[str, typer.Option(help="partners, or all: (direct) plays for our own people, too.")]
Eligible = Annotated[str, typer.Option(help="any, or qualified: only partners with a headline claim.")]
HalfLife = Annotated[
    str | None, typer.Option(help="time_decay: such as 30d, 12h or 2w [30d].", show_default=False)
]
LinearBy = Annotated[
    str | None, typer.Option(help="linear: touchpoint, or partner: each once.", show_default=False)
]
Order = Annotated[
    int | None,
    typer.Option(help="markov: touchpoints the chain remembers, 1 to 4 [1].", show_default=False),
]
Level = Annotated[str | None, typer.Option(help="markov: partner or program [partner].", show_default=False)]
Weights = Annotated[
    list[str] | None,
    typer.Option("--weight", help="weighted: NAME=WEIGHT; repeatable, others weigh 1.", show_default=False),
]
WeightBy = Annotated[
    str | None,
    typer.Option(help="weighted: the names are of a kind, role or program [kind].", show_default=False),
]
MODEL_OPTIONS: dict[str, Any] = {
    "first": First,
    "last": Last,
    "half_life": HalfLife,
    "linear_by": LinearBy,
    "order": Order,
    "level": Level,
    "game": Game,
    "samples": Samples,
    "seed": Seed,
    "weight": Weights,
    "weight_by": WeightBy,
}
"""Parameters of models, by the name under which :func:`read_model` takes them."""
_HOURS = {"h": 1, "d": 24, "w": 168}


def read_model(name: str, options: dict[str, Any]) -> AttributionModel:
    """The model of this name with the options that were given; None: it was not.

    Raises
    ------
    UsageError
        For a model that does not exist, or an option that it does not have.
    """
    from attribution import models
    from attribution.models.milestone import PRESETS

    if name not in _PARAMETERS:
        raise UsageError(f"there is no model {name!r}", hint=f"known models: {known(_PARAMETERS)}")
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in _PARAMETERS[name]:
            owners = [model for model, parameters in _PARAMETERS.items() if option in parameters]
            raise UsageError(
                f"model {name} has no --{option.replace('_', '-')}",
                hint=f"it belongs to --model {known(owners)}",
            )
    if "half_life" in given:
        given["half_life"] = duration(given["half_life"], "--half-life")
    if name == "weighted":
        given["weight"] = dict(_weight(text) for text in given.get("weight", ()))
    if name in PRESETS:
        preset: AttributionModel = getattr(models.Milestone, name)()
        return preset
    model = getattr(models, "".join(word.capitalize() for word in name.split("_")))
    made: AttributionModel = model(**{_PARAMETERS[name][option]: value for option, value in given.items()})
    return made


def read_models(names: list[str], options: dict[str, Any]) -> list[AttributionModel]:
    """The models of these names; each takes the options that it has.

    Raises
    ------
    UsageError
        For a model that does not exist, or an option that none of them has.
    """
    for option, value in options.items():
        if value is not None and not any(option in _PARAMETERS.get(name, ()) for name in names):
            owners = [model for model, parameters in _PARAMETERS.items() if option in parameters]
            raise UsageError(
                f"none of these models has --{option.replace('_', '-')}",
                hint=f"it belongs to the model {known(owners)}",
            )
    return [
        read_model(
            name, {option: options[option] for option in options if option in _PARAMETERS.get(name, ())}
        )
        for name in names
    ]


def read_intervals(n: int | None, options: dict[str, Any]) -> Bootstrap | None:
    """The bootstrap of so many draws; it takes the seed out of the options unless a model may need it."""
    from attribution.measures.resampling import Bootstrap

    if n is None:
        return None
    seed = options["seed"] or 0
    if options.get("game") is None:
        options["seed"] = None
    return Bootstrap(n=n, seed=seed)


def duration(text: str, option: str) -> timedelta:
    """A duration as people write it.

    Raises
    ------
    UsageError
        If it is none.

    Examples
    --------
    >>> duration("30d", "--half-life"), duration("12h", "--half-life")
    (datetime.timedelta(days=30), datetime.timedelta(seconds=43200))
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([hdw])", text.strip())
    if match is None:
        raise UsageError(f"{option} {text!r} is no duration", hint="write 12h, 30d or 2w")
    return timedelta(hours=float(match[1]) * _HOURS[match[2]])


def _weight(text: str) -> tuple[str, float]:
    name, _, weight = text.rpartition("=")
    try:
        return name, float(weight)
    except ValueError:
        raise UsageError(f"--weight {text!r} is no weight", hint="write NAME=2.5") from None
