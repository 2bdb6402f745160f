"""The API reference: a page for each public package, made of `__all__` and the docstrings, read as source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[2]
# In this order; a name is described on the first page that has it, and the others link to it.
PACKAGES = (
    *("kerasrec", "kerasrec.etl", "kerasrec.data", "kerasrec.layers"),
    *("kerasrec.losses", "kerasrec.metrics", "kerasrec.models", "kerasrec.optimizers", "kerasrec.retrieval"),
    *("kerasrec.callbacks", "kerasrec.checkpoint", "kerasrec.parallel", "kerasrec.serving", "kerasrec.schema"),
    *("kerasrec.tables", "kerasrec.datasets"),
)


@dataclass(frozen=True)
class Name:
    """A public name: as users write it, what it stands for, and the first sentence of its docstring."""

    public: str  # "kr.Loader"
    path: str  # "kerasrec.Loader", by which griffe finds it; it is the anchor
    canonical: str  # "kerasrec.data.loader.Loader"
    summary: str


def short(path: str) -> str:
    """Return a dotted path with `kr` in place of `kerasrec`."""
    return "kr" + path.removeprefix("kerasrec")


@cache
def package() -> griffe.Module:
    """Return the package as griffe reads it from the source."""
    loader = griffe.GriffeLoader(search_paths=[str(ROOT)])
    module = loader.load("kerasrec")
    loader.resolve_aliases(implicit=True)
    assert isinstance(module, griffe.Module)
    return module


@cache
def names(path: str) -> tuple[Name, ...]:
    """Return the public names of a package or module, in order: `__all__`, or its classes and functions.

    A module within is a name by itself if it has a page, and otherwise stands for its own public names.

    Raises:
        ValueError: a name whose object is not to be found in the source, as that of a package that imports it only
            in `__getattr__`.
    """
    module = _member(path)
    exported = [str(name) for name in module.exports or ()]
    if module.exports is None:
        members = (m for m in module.members.values() if not m.is_alias and (m.is_class or m.is_function))
        exported = [member.name for member in members if not member.name.startswith("_")]
    found: list[Name] = []
    for name in exported:
        here = f"{path}.{name}"
        try:
            target = _member(here)
        except KeyError:
            raise ValueError(
                f"{here} is in __all__, but the source does not say what it is: import it under TYPE_CHECKING"
            ) from None
        if not target.is_module or here in PACKAGES:
            found.append(Name(short(here), here, target.canonical_path, _summary(target)))
        elif name in target.members:  # a function in a module of its name, which the source shows first
            function = _member(f"{here}.{name}")
            found.append(Name(short(here), f"{here}.{name}", function.canonical_path, _summary(function)))
        else:
            found += names(here)
    return tuple(found)


def _member(path: str) -> griffe.Object:
    parts = path.split(".")[1:]
    found = package()[parts] if parts else package()
    return found.final_target if isinstance(found, griffe.Alias) else found


def _summary(target: griffe.Object) -> str:
    """Return the first sentence of a docstring, in one line that a table can hold."""
    if target.docstring is None:
        return ""
    first = " ".join(target.docstring.value.strip().split("\n\n")[0].split())
    end = first.find(". ")
    return (first if end < 0 else first[: end + 1]).replace("|", "\\|")


@cache
def described() -> dict[str, Name]:
    """Return the name under which each object is described, by its canonical path."""
    out: dict[str, Name] = {}
    for path in PACKAGES:
        for name in names(path):
            if name.path not in PACKAGES:
                out.setdefault(name.canonical, name)
    return out


@cache
def anchors() -> dict[str, str]:
    """Return the anchor of every public name, as {"kr.Loader": "kerasrec.Loader"}."""
    out = {short(path): path for path in PACKAGES if path != "kerasrec"}
    for path in PACKAGES:
        for name in names(path):
            home = name if name.path in PACKAGES else described()[name.canonical]
            out.setdefault(name.public, home.path)
    return out


def page_of(path: str) -> str:
    """Return the page of a package, as "api/etl.md"."""
    return f"api/{short(path)}.md"


def pages() -> dict[str, str]:
    """Return the text of each page of the reference by its path in the site."""
    rows = [f"| [`{short(path)}`][{path}] | {_summary(_member(path))} |" for path in PACKAGES]
    index = "\n".join(
        [
            "# API reference\n",
            "Every public name, after `import kerasrec as kr`. What is not here is private and may change.\n",
            "| package | what it has |\n|---|---|",
            *rows,
        ]
    )
    return {"api/index.md": index + "\n", **{page_of(path): _page(path) for path in PACKAGES}}


def _page(path: str) -> str:
    """Return the page of a package: docstring, table of names, and each name that has not been described."""
    head = f"::: {path}\n    options:\n      heading: {short(path)}\n      heading_level: 1\n      members: []\n"
    rows, blocks = [], []
    for name in names(path):
        if name.path in PACKAGES:
            rows.append(f"| [`{name.public}`][{name.path}] | {name.summary} |")
            continue
        home = described()[name.canonical]
        rows.append(f"| [`{name.public}`][{home.path}] | {name.summary} |")
        if home.path == name.path:
            label = name.public.removeprefix(f"{short(path)}.")
            blocks.append(
                f"::: {name.path}\n    options:\n      heading: {name.public}\n      toc_label: {label}\n"
            )
    table = ["| name | |\n|---|---|", *rows] if rows else []
    return "\n".join([f"---\ntitle: {short(path)}\n---\n", head, *table, "", *blocks])
