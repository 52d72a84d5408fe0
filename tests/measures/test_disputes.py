"""The six disputes of docs/disputes.md: what the page shows is what an explanation says, word by word."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "disputes.md"
BLOCK = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)


def test_the_page_shows_what_explanations_say():
    told, names = "", {}
    compared = []
    for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(text, names)
            told = said.getvalue()
        else:
            assert told == text
            compared.append(text.splitlines()[1])
    assert compared == [
        "Northgate sourced this deal.",
        *["Nobody sourced this deal."] * 5,
    ]
