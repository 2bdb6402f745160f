"""The code in the guides, and in the pages on choosing and on limitations, runs as it stands.

A block belongs to another library if its first line is a comment with the name of that library, as in `# TFRS`.
Of those only keras-rs is installed beside kerasrec, so its blocks run too; the others are compiled. A block of
text that comes after one of code is what the code prints.
"""

import contextlib
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("guides/*.md")) + [DOCS / "choosing.md", DOCS / "limitations.md"]
PEERS = ("NVTabular", "Merlin", "TFRS", "HugeCTR", "SOK", "DeepCTR", "TorchRec")
ROWS = 2000
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
LABEL = re.compile(r"# (\S+)")


class Block(NamedTuple):
    """A block of Python: whose it is, the number of lines before it, its code and what the page says it prints."""

    owner: str
    line: int
    code: str
    output: str | None


def blocks(text: str) -> list[Block]:
    """Return the Python blocks of a page."""
    found = []
    for match in BLOCK.finditer(text):
        label = LABEL.match(match[1])
        owner = label[1] if label and label[1] in (*PEERS, "keras-rs") else "kerasrec"
        found.append(Block(owner, text.count("\n", 0, match.start(1)), match[1], match[2]))
    return found


def clicks(seed: int) -> pl.DataFrame:
    """Return rows of a shop: strings, a list, numbers with nulls, a time and a label that depends on them."""
    rng = np.random.default_rng(seed)
    user, item = rng.zipf(1.3, ROWS) % 300, rng.zipf(1.3, ROWS) % 500
    age = [None if x < 18 else float(x) for x in rng.integers(15, 80, ROWS)]
    return pl.DataFrame(
        {
            "user": [f"u{k}" for k in user],
            "item": [f"i{k}" for k in item],
            "genres": [[f"g{k}" for k in rng.integers(0, 8, n)] for n in rng.integers(0, 4, ROWS)],
            "age": age,
            "price": rng.lognormal(2, 1, ROWS).round(2),
            "time": pl.Series(rng.integers(0, 10**6, ROWS) + 1_700_000_000).cast(pl.Int64) * 1_000_000,
            "click": ((user + item + rng.integers(0, 3, ROWS)) % 3 == 0).astype("int64"),
        }
    ).with_columns(pl.col("time").cast(pl.Datetime("us")))


def criteo(seed: int) -> pl.DataFrame:
    """Return rows with Criteo's columns: a label, 13 integers with nulls and 26 hexadecimal strings."""
    rng = np.random.default_rng(seed)
    columns = {"label": rng.integers(0, 2, ROWS)}
    for k in range(1, 14):
        columns[f"I{k}"] = [None if x < 2 else int(x) for x in rng.geometric(0.05, ROWS)]
    for k in range(1, 27):
        columns[f"C{k}"] = [None if x == 1 else f"{x:08x}" for x in rng.zipf(1.4, ROWS) % 1000]
    return pl.DataFrame(columns)


def ratings(seed: int) -> pl.DataFrame:
    """Return rows with the columns of the MovieLens tutorials."""
    rng = np.random.default_rng(seed)
    user, film = rng.integers(0, 200, ROWS), rng.integers(0, 300, ROWS)
    stars = np.clip((user % 3 + film % 3 + rng.integers(0, 2, ROWS)), 1, 5).astype("float32")
    return pl.DataFrame(
        {
            "user_id": user.astype(str),
            "movie_title": [f"Film {k} (1995)" for k in film],
            "user_rating": stars,
        }
    )


@pytest.fixture
def raw_data(tmp_path, monkeypatch):
    """Go to a folder with the raw files that the pages name."""
    monkeypatch.chdir(tmp_path)
    for name, make in {"clicks": clicks, "criteo": criteo, "ratings": ratings}.items():
        for part, seed in {"train": 0, "valid": 1}.items():
            folder = tmp_path / name / part
            folder.mkdir(parents=True)
            make(seed).write_parquet(folder / "part-0.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("raw_data")
def test_the_code_of_a_page_runs(page):
    namespaces = {}
    for block in blocks(page.read_text(encoding="utf-8")):
        compiled = compile("\n" * block.line + block.code, str(page), "exec")
        if block.owner in PEERS:
            continue
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compiled, namespaces.setdefault(block.owner, {"__name__": "__main__"}))
        if block.output is not None:
            assert printed.getvalue() == block.output, f"line {block.line} prints something else"


@pytest.mark.parametrize("page", sorted(DOCS.glob("guides/from_*.md")), ids=lambda page: page.stem)
def test_each_step_of_a_guide_is_shown_in_both_libraries(page):
    sections = page.read_text(encoding="utf-8").split("\n### ")[1:]
    assert len(sections) >= 4
    for section in sections:
        owners = [block.owner for block in blocks(section)]
        assert owners[1:] == ["kerasrec"], section.splitlines()[0]
        assert owners[0] != "kerasrec", section.splitlines()[0]
