"""The API reference has every public name, under the name that users write."""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType

import kerasrec as kr


def public_modules():
    """Yield the package and every module that its `__all__` names."""
    yield kr
    yield from (value for name in kr.__all__ if inspect.ismodule(value := getattr(kr, name)))


def public_names(module: ModuleType) -> set[str]:
    """Return the names of `__all__`, or else those of the module's own classes and functions."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    members = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {name for name, value in members.items() if getattr(value, "__module__", None) == module.__name__}


def test_each_public_name_is_on_its_packages_page_with_a_link_to_its_description(site_folder):
    missing = set()
    for module in public_modules():
        here = module.__name__.replace("kerasrec", "kr", 1)
        html = (site_folder / "api" / here / "index.html").read_text(encoding="utf-8")
        linked = set(re.findall(r"<a [^>]*href=[^>]*><code>(kr[\w.]*)</code></a>", html))
        names = set()
        for name in public_names(module):
            inner = getattr(module, name)
            if inspect.ismodule(inner) and inner not in public_modules():
                names |= {f"{here}.{name}.{each}" for each in public_names(inner)}
            else:
                names.add(f"{here}.{name}")
        missing |= names - linked
    assert missing == set()


def test_signatures_sections_and_examples_are_rendered(site_folder):
    html = (site_folder / "api" / "kr.layers" / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", html)
    signature = inspect.signature(importlib.import_module("kerasrec.layers").MLP.__init__)
    for name in list(signature.parameters)[1:4]:
        assert re.search(rf"\b{name}\b", text)
    for heading in ("Parameters:", "Raises:", "Example:"):
        assert heading in text
    assert ">>> " not in re.sub(r"<code>.*?</code>", "", html, flags=re.DOTALL).replace("&gt;", ">")
    assert "doctest:" not in text
