"""Links of a Markdown file that hold on GitHub, as links of the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2`*~* *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?![a-z][a-z0-9+.-]*:)([^)\s#]+)(#[^)\s]*)?(?=\))")
NAME = re.compile(r"(?<![\[`\w])`((?:kr|kerasrec|etl)\.[A-Za-z_.]+)(\([^`]*\))?`(?![`\]])")


def rewritten(
    markdown: str,
    source: str,
    page: str,
    sources: Mapping[str, str],
    repository: str,
    anchors: Mapping[str, str],
) -> str:
    """Return a page's text with the links that a site needs.

    Args:
        markdown: the text as it is in the repository.
        source: the path of its file in the repository, as "benchmarks/README.md".
        page: the path of its page in the site, as "benchmarks.md".
        sources: the file of the repository by page, of all pages that are made of one file.
        repository: the address of the repository, for links to files that are not in the site.
        anchors: the API reference's anchor of every public name, as {"kr.Loader": "kerasrec.Loader"}.

    Raises:
        ValueError: a link to a file or folder that is not in the repository.
    """
    pages = {file: page for page, file in sources.items()}

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if target == "examples":
            return posixpath.relpath("gallery/index.md", posixpath.dirname(page) or ".")
        if target in pages:
            return posixpath.relpath(pages[target], posixpath.dirname(page) or ".") + (match[2] or "")
        path = ROOT / target
        if not path.exists():
            raise ValueError(f"{source} links to {match[1]}, but the repository has no {target}")
        if target.startswith("docs/") and path.is_file():
            return posixpath.relpath(target[len("docs/") :], posixpath.dirname(page) or ".") + (match[2] or "")
        return f"{repository}/{'tree' if path.is_dir() else 'blob'}/main/{target}{match[2] or ''}"

    def name(match: re.Match[str]) -> str:
        public = match[1].replace("kerasrec.", "kr.", 1)
        anchor = anchors.get(public) or anchors.get(f"kr.{public}")
        return f"[{match[0]}][{anchor}]" if anchor else match[0]

    return _outside_of_code(markdown, lambda text: _outside_of_headings(LINK.sub(link, text), NAME, name))


def _outside_of_code(markdown: str, change: Callable[[str], str]) -> str:
    """Return the text with everything but the fenced blocks of code changed."""
    out, end = [], 0
    for fence in FENCE.finditer(markdown):
        out += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*out, change(markdown[end:])])


def _outside_of_headings(text: str, pattern: re.Pattern[str], change: Callable[[re.Match[str]], str]) -> str:
    """Return the text with the pattern replaced, except in headings and within links."""
    lines = text.split("\n")
    return "\n".join(line if line.startswith("#") else _outside_of_links(line, pattern, change) for line in lines)


def _outside_of_links(line: str, pattern: re.Pattern[str], change: Callable[[re.Match[str]], str]) -> str:
    parts = re.split(r"(\[[^\]]*\]\([^)]*\))", line)
    return "".join(part if number % 2 else pattern.sub(change, part) for number, part in enumerate(parts))
