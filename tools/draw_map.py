"""Draw which package imports which, as `docs/architecture.svg`: `draw_map.py`, or `draw_map.py --check` in CI.

One panel shows the packages, and one each those packages that have sub-packages. An arrow leads down to what is
imported; one that follows from others (a -> c where a -> b -> c) is left out, so that the drawing can be read.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from html import escape

from import_graph import FLOORS, ROOT, boxes, floor, imports

SVG = ROOT / "docs" / "architecture.svg"
PANELS = {"": "kerasrec", "data": "kerasrec/data", "etl": "kerasrec/etl", "parallel": "kerasrec/parallel"}
BOX_HEIGHT, GAP, ROW_HEIGHT, MARGIN, CHARACTER = 26, 18, 74, 24, 7.2
WIDTH = 1000
FLOOR_COLOURS = ("#f6f8fa", "#eaf2fb")

Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Box:
    """A rectangle with a name, its centre and its width in pixels."""

    x: float
    y: float
    width: float


def without_implied(graph: Graph) -> dict[str, set[str]]:
    """Return the transitive reduction: the arrows that no path of others stands for."""
    below: dict[str, set[str]] = {}
    for name in TopologicalSorter(graph).static_order():  # raises CycleError on a circle
        direct = graph.get(name, set())
        below[name] = direct.union(*(below[target] for target in direct))
    return {
        name: {t for t in targets if not any(t in below[other] for other in targets)}
        for name, targets in graph.items()
    }


def rows_of(graph: Graph, inside: str) -> list[list[str]]:
    """Return the boxes row by row, the lowest first: each above what it imports, and no floor beside another."""
    row: dict[str, int] = {}
    base, level = 0, 1
    height = len(FLOORS[inside]) if inside in FLOORS else 1
    order = list(TopologicalSorter(graph).static_order())
    while level <= height:
        here = [name for name in order if (floor(name) if not inside else 1) == level]
        for name in here:
            row[name] = max([base, *(row[target] + 1 for target in graph.get(name, set()))])
        base = max([base - 1, *(row[name] for name in here)]) + 1
        level += 1
    rows: list[list[str]] = [[] for _ in range(max(row.values()) + 1)]
    for name in sorted(row):
        rows[row[name]].append(name)
    return rows


def arranged(rows: list[list[str]], graph: Graph) -> list[list[str]]:
    """Return the rows with each box near what it imports: fewer arrows cross."""
    place = {name: i / max(1, len(names) - 1) for names in rows for i, name in enumerate(names)}
    importers = {name: [other for other in graph if name in graph[other]] for names in rows for name in names}
    for sweep in range(8):
        for names in rows if sweep % 2 == 0 else reversed(rows):
            near = {name: list(graph.get(name, ())) if sweep % 2 == 0 else importers[name] for name in names}
            wish = {n: sum(place[o] for o in near[n]) / len(near[n]) if near[n] else place[n] for n in names}
            names.sort(key=lambda name: (wish[name], name))
            place |= {name: (i + 1) / (len(names) + 1) for i, name in enumerate(names)}
    return rows


def panel(title: str, inside: str, top: float) -> tuple[list[str], float]:
    """Return the SVG elements of one panel that begins at `top`, and where it ends."""
    graph = without_implied(boxes(imports(), inside))
    rows = arranged(rows_of(graph, inside), graph)
    placed: dict[str, Box] = {}
    bottom = top + 40 + ROW_HEIGHT * len(rows)
    for number, names in enumerate(rows):
        widths = [CHARACTER * len(name) + 20 for name in names]
        space = (WIDTH - 2 * MARGIN - sum(widths)) / (len(names) + 1)
        x = MARGIN + space
        for name, width in zip(names, widths, strict=True):
            placed[name] = Box(x + width / 2, bottom - ROW_HEIGHT * (number + 0.5), width)
            x += width + space
    out = [f'<text x="{MARGIN}" y="{top + 24:.0f}" class="title">{escape(title)}</text>']
    if not inside:
        out += floors(rows, bottom)
    out += [arrow(placed[name], placed[t]) for name in sorted(graph) for t in sorted(graph[name])]
    for name, box in sorted(placed.items()):
        out.append(
            f'<rect x="{box.x - box.width / 2:.1f}" y="{box.y - BOX_HEIGHT / 2:.1f}" width="{box.width:.1f}" '
            f'height="{BOX_HEIGHT}" rx="5" class="box"/>'
            f'<text x="{box.x:.1f}" y="{box.y + 4:.1f}">{escape(name)}</text>'
        )
    return out, bottom


def floors(rows: list[list[str]], bottom: float) -> list[str]:
    """Return a band with its number behind the rows of each floor."""
    out = []
    for level in range(1, len(FLOORS[""]) + 1):
        numbers = [number for number, names in enumerate(rows) if names and floor(names[0]) == level]
        y, height = bottom - ROW_HEIGHT * (max(numbers) + 1), ROW_HEIGHT * len(numbers)
        out.append(
            f'<rect x="0" y="{y:.0f}" width="{WIDTH}" height="{height}" fill="{FLOOR_COLOURS[level % 2]}"/>'
            f'<text x="8" y="{y + 16:.0f}" class="number">{level}</text>'
        )
    return out


def arrow(importer: Box, imported: Box) -> str:
    """Return a curve from a box down to another."""
    x1, y1, x2, y2 = importer.x, importer.y + BOX_HEIGHT / 2, imported.x, imported.y - BOX_HEIGHT / 2
    assert y2 > y1, "an arrow leads upward"
    bend = (y2 - y1) / 2
    return (
        f'<path d="M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2 - 3:.1f}" '
        'marker-end="url(#head)"/>'
    )


def drawing() -> str:
    """Return the whole SVG."""
    elements: list[str] = []
    top = 0.0
    for inside, title in PANELS.items():
        panel_elements, top = panel(title, inside, top)
        elements += panel_elements
    style = (
        "text{font:12px ui-monospace,Menlo,Consolas,monospace;text-anchor:middle;fill:#1f2328}"
        "text.title{font:bold 15px system-ui,sans-serif;text-anchor:start}text.number{font-size:11px;fill:#6e7781}"
        "rect.box{fill:#fff;stroke:#57606a}path{fill:none;stroke:#8c959f}#head path{fill:#8c959f;stroke:none}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + MARGIN:.0f}" width="{WIDTH}">\n'
        f"<title>Which package of kerasrec imports which</title>\n<style>{style}</style>\n"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8z"/></marker></defs>\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(elements) + "\n</svg>\n"
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if not SVG.exists() or SVG.read_text(encoding="utf-8") != drawing():
            sys.exit(f"{SVG.relative_to(ROOT)} does not show the imports as they are; run: make map")
    else:
        SVG.write_text(drawing(), encoding="utf-8")
