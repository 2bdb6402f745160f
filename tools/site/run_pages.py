"""Run the Python blocks of pages in order and put what each prints below it: `run_pages.py docs/index.md`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


class BlockError(Exception):
    """A block that does not run; the message says where it begins, and why."""


def run(page: Path, text: str, blocks: Iterable[re.Match[str]]) -> list[str]:
    """Run blocks of a page one after another, as one script, and return what each printed.

    Raises:
        BlockError: a block raises an error.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for block in blocks:
        before = text.count("\n", 0, block.start("code"))
        with contextlib.redirect_stdout(io.StringIO()) as stream:
            try:
                exec(compile("\n" * before + block["code"], str(page), "exec"), namespace)
            except Exception as error:
                raise BlockError(f"{page}: the block that begins in line {before + 1}: {error!r}") from error
        printed.append(stream.getvalue().rstrip())
    return printed


def with_outputs(page: Path, text: str) -> str:
    """Return a page with the outputs of all its Python blocks as they are now."""
    printed = iter(run(page, text, BLOCK.finditer(text)))

    def shown(block: re.Match[str]) -> str:
        output = next(printed)
        return f"```python\n{block['code']}```\n" + (f"\n```text\n{output}\n```\n" if output else "")

    return BLOCK.sub(shown, text)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for path in [Path(argument).resolve() for argument in sys.argv[1:]]:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            new = with_outputs(path, path.read_text(encoding="utf-8"))
        path.write_text(new, encoding="utf-8")
