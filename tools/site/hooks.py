"""What `mkdocs build` calls: pages that are made from the code, and links that hold on GitHub and in the site."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, os.path.dirname(__file__))

import api_pages
import gallery_pages
import links

ROOT = Path(__file__).parents[2]
# Markdown files outside docs/ that are pages of the site.
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/gpu/README.md": "benchmarks_gpu.md",
}


def sources() -> dict[str, str]:
    """Return the file of the repository that each page is made of, by the page's path in the site."""
    pages = {page: source for source, page in ELSEWHERE.items()}
    pages |= gallery_pages.sources()
    pages |= {path.relative_to(ROOT / "docs").as_posix(): path.relative_to(ROOT).as_posix() for path in _docs()}
    return pages


def _docs() -> list[Path]:
    return sorted((ROOT / "docs").rglob("*.md"))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from other files, and put them where the navigation has "folder/*"."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for source, page in ELSEWHERE.items()}
    made |= gallery_pages.pages() | api_pages.pages()
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    config.nav = _expanded(config.nav, [file.src_uri for file in files.documentation_pages()])
    return files


def _expanded(nav: Any, pages: list[str]) -> Any:
    """Return the navigation with each "folder/*" replaced by the pages of that folder."""
    if isinstance(nav, dict):
        return {title: _expanded(entry, pages) for title, entry in nav.items()}
    if not isinstance(nav, list):
        return nav
    out: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and entry.endswith("/*"):
            out += [page for page in pages if page.startswith(entry[:-1]) and page not in nav]
        else:
            out.append(_expanded(entry, pages))
    return out


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at pages of the site, at files of the repository, and names in code at the API reference."""
    source = sources().get(page.file.src_uri)
    if source is None:  # a page of the API reference
        return markdown
    return links.rewritten(markdown, source, page.file.src_uri, sources(), config.repo_url, api_pages.anchors())
