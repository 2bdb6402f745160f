"""Each page of the user guide begins with a task that a reader can paste and run, and shows what it prints."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mkdocs.config import load_config

import kerasrec as kr

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools" / "site"))
without_figures = importlib.import_module("run_examples").without_figures

BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
WITHOUT_PYTHON = {"cli.md", "glossary.md"}
IN_TEST_GUIDES = {"choosing.md", "limitations.md"}  # where all their code runs
BEGINS_IN_THE_MIDDLE = {"loader.md"}


def user_guide() -> list[str]:
    """Return the pages that mkdocs.yml has in the user guide, and that on performance."""
    (section,) = (
        entry["User guide"] for entry in load_config(str(ROOT / "mkdocs.yml")).nav if "User guide" in entry
    )
    return sorted({*section, "performance.md"} - WITHOUT_PYTHON - IN_TEST_GUIDES - BEGINS_IN_THE_MIDDLE)


def run(page: str, blocks: Iterator[re.Match[str]] | list[re.Match[str]], text: str) -> None:
    """Run blocks of a page one after another as a script, and compare what they print, figures aside."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        line = text.count("\n", 0, block.start("code"))
        with contextlib.redirect_stdout(io.StringIO()) as stream:
            try:
                exec(compile("\n" * line + block["code"], f"docs/{page}", "exec"), namespace)
            except Exception as error:
                pytest.fail(
                    f"docs/{page}: the block that begins in line {line + 1} does not run by itself: {error!r}"
                )
        if block["output"] is not None:
            assert without_figures(stream.getvalue()) == without_figures(block["output"]), (
                f"docs/{page}: its output"
            )


@pytest.fixture(scope="module")
def raw_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the click log that pages name: raw/ and raw_valid/, clicks.parquet and clicks.csv."""
    folder = tmp_path_factory.mktemp("raw_data")
    for name, seed in {"raw_valid": 1, "raw": 0}.items():
        (folder / name).mkdir()
        clicks = kr.datasets.clicks(3_000, seed=seed)
        clicks.write_parquet(folder / name / "part-0.parquet")
    clicks.write_parquet(folder / "clicks.parquet")
    clicks.drop("genres").write_csv(folder / "clicks.csv")
    return folder


@pytest.fixture(autouse=True)
def _folder_of_its_own(raw_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a copy of the raw data."""
    monkeypatch.chdir(shutil.copytree(raw_data, tmp_path / "work"))


@pytest.mark.slow
@pytest.mark.parametrize("page", user_guide())
def test_the_first_block_of_a_page_runs_by_itself(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    first = BLOCK.search(text)
    assert first, f"docs/{page} has no Python block to begin with"
    before = text[: first.start()]
    assert before.count("\n## ") == 0, f"docs/{page}: the first Python block comes after the first section"
    run(page, [first], text)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index.md", "getting_started.md"])
def test_all_blocks_of_a_page_run_in_order(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    run(page, BLOCK.finditer(text), text)
