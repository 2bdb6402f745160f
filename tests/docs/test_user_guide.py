"""Each page of the user guide begins with a task that a reader can paste and run, and shows what it prints."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path

import keras
import pytest
from mkdocs.config import load_config

import kerasrec as kr

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools" / "site"))
run_pages = importlib.import_module("run_pages")
without_figures = importlib.import_module("run_examples").without_figures


IN_TEST_GUIDES = {"choosing.md", "limitations.md"}  # where all their code runs
SHELL = ("sh", "bash")
FENCE = re.compile(r"^```(\w*)", re.MULTILINE)


def user_guide() -> dict[str, str]:
    """Return the language of the first block of each page of the user guide, and of that on performance."""
    nav = load_config(str(ROOT / "mkdocs.yml")).nav
    (section,) = (entry["User guide"] for entry in nav if "User guide" in entry)
    pages = sorted({*section, "performance.md"} - {"glossary.md"})
    fences = {page: FENCE.search((ROOT / "docs" / page).read_text(encoding="utf-8")) for page in pages}
    return {page: fence[1] if fence else "" for page, fence in fences.items()}


def check(name: str, blocks: list[re.Match[str]], text: str) -> None:
    """Run blocks of a page as one script, and compare what they print with what the page shows, figures aside."""
    keras.utils.clear_session()  # names of models are numbered from the first one on
    for block, printed in zip(blocks, run_pages.run(Path("docs") / name, text, blocks), strict=True):
        if block["output"] is not None:
            assert without_figures(printed) == without_figures(block["output"]), (
                f"docs/{name} shows another output"
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


def test_each_page_begins_with_code_or_with_commands():
    assert {
        page: language for page, language in user_guide().items() if language not in ("python", "sh", "bash")
    } == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    sorted(
        page for page, language in user_guide().items() if language not in SHELL and page not in IN_TEST_GUIDES
    ),
)
def test_the_first_block_of_a_page_runs_by_itself(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    first = run_pages.BLOCK.search(text)
    assert "\n## " not in text[: first.start()], (
        f"docs/{page}: the first Python block comes after the first section"
    )
    check(page, [first], text)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index.md", "getting_started.md"])
def test_all_blocks_of_a_page_run_in_order(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    check(page, list(run_pages.BLOCK.finditer(text)), text)
