"""Where every command comes together, and where every error becomes one line and an exit code."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any, Final, NamedTuple

import typer

from attribution.cli import checks, comparisons, crm, demo, disputes, effects, erasure, overlays, reports
from attribution.errors import AttributionError
from attribution.sync.secrets import blotted

__all__ = ["app", "main"]

app = typer.Typer(
    name="attribution",
    help="Partner attribution for Salesforce: sourced, influenced and multi-touch credit, exact to the cent.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"attribution {version('partner-attribution')}\n")
        raise typer.Exit


@app.callback()
def _attribution(
    told: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Partner attribution for Salesforce: sourced, influenced and multi-touch credit, exact to the cent."""


app.command()(demo.demo)
app.command()(crm.doctor)
app.command()(crm.sync)
app.command()(crm.verify)
app.command()(crm.runs)
app.command()(crm.overlaps)
app.command()(erasure.erase)
app.command()(reports.sourced)
app.command()(reports.influenced)
app.command()(reports.credit)
app.command()(comparisons.compare)
app.command()(comparisons.removal_effects)
app.command()(effects.effect)
app.command()(effects.lifecycle)
app.command()(overlays.velocity)
app.command()(reports.waterfall)
app.command()(disputes.explain)
app.command()(disputes.decide)
app.command()(checks.what_if)
app.command()(checks.audit)
app.command()(checks.settings)

_INTERRUPTED: Final = 130
# what typer raises for any wrong call; it keeps its own copy of click and does not name this base publicly
_WrongCall: type[Exception] = typer.BadParameter.__mro__[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        Words after ``attribution``; those of the process by default.

    Returns
    -------
    int
        0 ok, 2 usage or configuration, 3 CRM unreachable or refusing, 4 stopped early and resumable,
        5 data or verification problem, 1 anything else.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    debug = "--debug" in words
    forms = _Forms(_has_option(words, "--json", "--format"), _has_option(words, None, "--log-format"), debug)
    try:
        with _told(forms), _terminable():
            outcome = app(args=words, standalone_mode=False)
        if outcome == _INTERRUPTED:
            # typer makes it an exit code of its own, and tells nobody
            raise KeyboardInterrupt
        return outcome if isinstance(outcome, int) else 0
    except AttributionError as error:
        _report(error.code, error.message, error.hint, forms=forms)
        return error.exit_code
    except _WrongCall as error:
        message = error.format_message() if isinstance(error, typer.BadParameter) else str(error)
        message = message.replace("Value error, ", "")
        _report("usage", message, "see `attribution --help`", forms=forms)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        _report("interrupted", "interrupted", "run it again to go on", forms=forms)
        return _INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has gone, as in `attribution credit | head`
        sys.stderr.close()
        return 1
    except Exception as error:
        message = f"{type(error).__name__}: {error}" if debug else f"unexpected {type(error).__name__}"
        _report("error", message, "run it again with --debug and report it", forms=forms)
        return 1


class _Waits(logging.Handler):
    """Shows what a sync waits for."""

    def __init__(self, forms: _Forms) -> None:
        super().__init__(logging.WARNING)
        self._forms = forms

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        self._forms.show("waiting", record.getMessage())


@contextmanager
def _told(forms: _Forms) -> Iterator[None]:
    """Show warnings, without the place in the code that gives them, and waits."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        forms.show("warning", message)

    logger, waits = logging.getLogger("attribution.sync"), _Waits(forms)
    shown, warnings.showwarning = warnings.showwarning, show
    logger.addHandler(waits)
    try:
        yield
    finally:
        logger.removeHandler(waits)
        warnings.showwarning = shown


@contextmanager
def _terminable() -> Iterator[None]:
    """Let a command that is told to end do so as if it were interrupted by hand."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Forms(NamedTuple):
    """How an error is told."""

    as_json: bool
    """A document on stdout."""
    as_log: bool
    """A line of JSON on stderr."""
    with_traceback: bool

    def show(self, event: str, message: object) -> None:
        """Tell of something in a line."""
        line = " ".join(str(message).split())
        document = {"event": event, "message": line}
        sys.stderr.write(json.dumps(document) + "\n" if self.as_log else f"{event.capitalize()}: {line}\n")


def _has_option(words: Sequence[str], flag: str | None, option: str) -> bool:
    """Whether JSON is asked for, by a flag or by the value of an option."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return any(
        word == flag or word == f"{option}=json" or (word == option and after == "json")
        for word, after in pairs
    )


def _without_secrets(text: str) -> str:
    """The text with the values of secret environment variables blotted out."""
    secrets = (
        value.strip()
        for name, value in os.environ.items()
        if name.startswith("SALESFORCE_") and name.endswith(("TOKEN", "SECRET", "PASSWORD"))
    )
    return blotted(text, secrets)


def _report(code: str, message: str, hint: str | None, *, forms: _Forms) -> None:
    if forms.with_traceback:
        sys.stderr.write(_without_secrets(traceback.format_exc()))
    line = " ".join(message.split())
    document = {"code": code, "message": line, "hint": hint}
    if forms.as_json:
        sys.stdout.write(json.dumps({"error": document}) + "\n")
    if forms.as_log:
        sys.stderr.write(json.dumps({"event": "error", **document}) + "\n")
    elif not forms.as_json:
        sys.stderr.write(f"Error: {line}\n" + (f"Hint: {hint}\n" if hint else ""))
