"""The gallery: scripts in `examples/`, where text and code alternate, as pages."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FIELDS = ("Title", "Author", "Date created", "Last modified", "Description", "Accelerator")


@dataclass(frozen=True)
class Block:
    """A piece of a script: code, or text (a string that stands alone), with the line it begins at."""

    text: str
    is_code: bool
    line: int


def blocks(script: str) -> list[Block]:
    """Return the pieces of a script in order."""
    lines = script.splitlines()
    out: list[Block] = []
    end = 0
    for node in ast.parse(script).body:
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        assert isinstance(node.value.value, str)
        out += _code(lines, end, node.lineno - 1)
        out.append(Block(node.value.value.strip(), False, node.lineno))
        end = node.end_lineno or node.lineno
    return out + _code(lines, end, len(lines))


def _code(lines: list[str], first: int, last: int) -> list[Block]:
    while first < last and not lines[first].strip():
        first += 1
    text = "\n".join(lines[first:last]).rstrip()
    return [Block(text, True, first + 1)] if text else []


def head(script: str) -> dict[str, str]:
    """Return the fields of a script's first block, as {"Title": ...}."""
    first = blocks(script)[0]
    fields = dict(line.split(": ", 1) for line in first.text.splitlines())
    if first.is_code or tuple(fields) != FIELDS:
        raise ValueError(f"an example begins with a text of the lines {', '.join(FIELDS)}; got {list(fields)}")
    return fields


def sources() -> dict[str, str]:
    """Return the script of each page of the gallery."""
    scripts = sorted(EXAMPLES.glob("*.py"))
    return {f"gallery/{path.stem}.md": f"examples/{path.name}" for path in scripts}


def pages() -> dict[str, str]:
    """Return the text of each page of the gallery by its path in the site."""
    scripts = {page: (ROOT / source).read_text(encoding="utf-8") for page, source in sources().items()}
    entries = []
    for page, script in scripts.items():
        fields = head(script)
        entries.append(f"- [{fields['Title']}]({Path(page).name})<br>{fields['Description']}")
    index = "\n".join(
        [
            "# Gallery\n",
            "Scripts to read and run. Each runs without arguments, in some seconds, on data that it makes;",
            "those for public data take its path as their argument. CI runs them all.\n",
            *entries,
        ]
    )
    return {"gallery/index.md": index + "\n", **{page: _page(page, script) for page, script in scripts.items()}}


def _page(page: str, script: str) -> str:
    """Return a script as a page, with what each block of code prints below it."""
    fields = head(script)
    source = sources()[page]
    printed = iter(split_outputs(output_file(ROOT / source).read_text(encoding="utf-8")))
    out = [f"# {fields['Title']}\n", f"{fields['Description']} The script is [{source}](../{source}).\n"]
    for block in blocks(script)[1:]:
        if not block.is_code:
            out.append(f"{block.text}\n")
            continue
        out.append(f"```python\n{block.text}\n```\n")
        if output := next(printed):
            out.append(f'```text title="Output"\n{output}\n```\n')
    return "\n".join(out)


def output_file(script: Path) -> Path:
    """Return the file with what a script prints."""
    return EXAMPLES / "output" / f"{script.stem}.txt"


def join_outputs(printed: list[str]) -> str:
    """Return the outputs of a script's blocks of code as one text."""
    return "".join(f"--- block {number}\n{text.rstrip()}\n" for number, text in enumerate(printed))


def split_outputs(text: str) -> list[str]:
    """Return the outputs that `join_outputs` joined."""
    return [part.strip("\n") for part in re.split(r"^--- block \d+$", text, flags=re.MULTILINE)[1:]]
