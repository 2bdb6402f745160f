"""Links of Markdown files become links of the site: to pages, to files of the repository, to the API reference."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools" / "site"))

links = importlib.import_module("links")

SOURCES = {
    "etl.md": "docs/etl.md",
    "guides/from_x.md": "docs/guides/from_x.md",
    "benchmarks.md": "benchmarks/README.md",
    "gallery/multi_rank.md": "examples/multi_rank.py",
}
ANCHORS = {"kr.Loader": "kerasrec.Loader", "kr.etl.Clip": "kerasrec.etl.Clip"}


def rewritten(text, page="etl.md"):
    return links.rewritten(text, SOURCES[page], page, SOURCES, "https://host/repo", ANCHORS)


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("etl.md", "../benchmarks/README.md#how", "benchmarks.md#how"),
        ("etl.md", "../examples/multi_rank.py", "gallery/multi_rank.md"),
        ("etl.md", "../examples/", "gallery/index.md"),
        ("etl.md", "../tests/conftest.py", "https://host/repo/blob/main/tests/conftest.py"),
        ("etl.md", "../tests", "https://host/repo/tree/main/tests"),
        ("etl.md", "figures/flow.svg", "figures/flow.svg"),
        ("guides/from_x.md", "../etl.md#a", "../etl.md#a"),
        ("benchmarks.md", "../docs/etl.md", "etl.md"),
        ("gallery/multi_rank.md", "../docs/etl.md", "../etl.md"),
        ("etl.md", "https://keras.io/", "https://keras.io/"),
        ("etl.md", "#an-anchor", "#an-anchor"),
    ],
)
def test_a_link_leads_to_the_page_or_to_the_file_in_the_repository(page, link, expected):
    assert rewritten(f"a [b]({link}) c", page) == f"a [b]({expected}) c"


def test_a_link_to_a_file_that_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match=r"docs/etl\.md links to \.\./gone\.py, but the repository has no gone\.py"
    ):
        rewritten("[x](../gone.py)")


def test_the_build_fails_on_an_anchor_that_is_not_there_and_on_a_page_that_is_not_in_the_navigation(tmp_path):
    """Of a small site with this one's settings: `mkdocs build --quiet` would let both pass."""
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    small = {"site_name": "small", "nav": ["index.md"], "validation": settings["validation"]}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(small), encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[a](other.md#nowhere)\n", encoding="utf-8")
    (tmp_path / "docs" / "other.md").write_text("# Other\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "does not contain an anchor '#nowhere'" in done.stderr
    assert 'not included in the "nav" configuration' in done.stderr


def test_public_names_in_code_become_links_except_in_blocks_headings_and_links():
    assert rewritten("a `kr.Loader` b") == "a [`kr.Loader`][kerasrec.Loader] b"
    assert rewritten("`etl.Clip(min=0)`") == "[`etl.Clip(min=0)`][kerasrec.etl.Clip]"
    for unchanged in (
        "`kr.unknown`",
        "`Loader`",
        "# About `kr.Loader`",
        "[`kr.Loader`](loader.html)".replace("loader.html", "https://x.org"),
        "```python\n`kr.Loader` [x](gone.md)\n```\n",
    ):
        assert rewritten(unchanged) == unchanged
