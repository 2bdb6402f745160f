"""HTML from nested calls: text is escaped, so that no name or value in the data can become markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


VOID = frozenset({"meta", "link", "br", "hr", "img"})  # elements that have no end


def element(tag: str, /, *children: str, **attributes: str) -> Html:
    """Return an element; children that are not `Html` are escaped.

    Args:
        tag: the name of the element, such as "p".
        children: text or `Html`, one after another.
        attributes: by name; an underscore at the end is dropped, others become hyphens ("class_", "aria_label").

    >>> element("p", "a < b", element("b", "c"), class_="note")
    '<p class="note">a &lt; b<b>c</b></p>'
    """
    names = {key: key.removesuffix("_").replace("_", "-") for key in attributes}
    start = "".join(f' {names[key]}="{escape(value)}"' for key, value in attributes.items())
    if tag in VOID:
        return Html(f"<{tag}{start}>")
    return Html(f"<{tag}{start}>{join(children)}</{tag}>")


def join(children: Iterable[str]) -> Html:
    """Return children one after another; those that are not `Html` are escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def table(
    header: Sequence[str], lines: Iterable[Sequence[str]], numbers: Sequence[str] = (), caption: str = ""
) -> Html:
    """Return a table that scrolls sideways in itself if it is too wide.

    Args:
        header: the names of the columns.
        lines: the cells, text or `Html`; the first of each line is its heading.
        numbers: names of the columns that are aligned to the right.
        caption: a line above the table.
    """
    classes = ["number" if name in numbers else "text" for name in header]
    head = [element("th", name, scope="col", class_=kind) for name, kind in zip(header, classes, strict=True)]
    body = []
    for first, *others in lines:
        cells = [element("td", cell, class_=kind) for cell, kind in zip(others, classes[1:], strict=True)]
        body.append(element("tr", element("th", first, scope="row", class_=classes[0]), *cells))
    title = [element("caption", caption)] if caption else []
    content = element("table", *title, element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", content, class_="scroll", tabindex="0", role="region", aria_label=caption or header[0])


def bar(share: float, error: float = 0.0) -> Html:
    """Return a bar for a share in [0, 1] of its width, with a line of plus and minus `error` at its end."""
    width, low, high = (100 * min(1.0, max(0.0, x)) for x in (share, share - error, share + error))
    inner = element("span", class_="fill", style=f"width:{width:.1f}%")
    whisker = element("span", class_="whisker", style=f"left:{low:.1f}%;width:{high - low:.1f}%")
    return element("span", inner, *([whisker] if error else []), class_="bar", aria_hidden="true")
