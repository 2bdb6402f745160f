"""The page of a report: what was reached, what to beware of, what was guessed, and how to repeat the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kerasrec._version import __version__
from kerasrec.cli.html import Html, element, join, table
from kerasrec.cli.run_report import ColumnReport, RunReport
from kerasrec.cli.target_section import scores, target_section
from kerasrec.cli.text_table import duration

_CSS = Path(__file__).with_name("report.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # a page that can load and run nothing


def page(report: RunReport) -> str:
    """Return the page as HTML that needs no other file."""
    title = report.title or f"{report.model} for {', '.join(target.name for target in report.targets)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Html(_CSS.read_text(encoding="utf-8"))),
    )
    several = len(report.targets) > 1
    sections = {"Result": _result(report), "Warnings": _warnings(report.warnings)}
    for number, target in enumerate(report.targets, 1):
        sections[f"Target {target.name}" if several else "Held-out rows"] = target_section(target, number)
    sections |= {"Columns": _columns(report.columns), "Run": _run(report)}
    shown = {title: content for title, content in sections.items() if content}
    links = [
        element("li", element("a", title, href=f"#section-{number}")) for number, title in enumerate(shown, 1)
    ]
    body = element(
        "body",
        element("h1", element("bdi", title)),
        element("nav", element("ul", *links), aria_label="Sections"),
        *(
            element("section", element("h2", title), content, id_=f"section-{number}")
            for number, (title, content) in enumerate(shown.items(), 1)
        ),
        element("footer", f"kerasrec {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _result(report: RunReport) -> Html:
    return join(scores(target, len(report.targets) > 1) for target in report.targets)


def _warnings(warnings: Sequence[str]) -> Html:
    if not warnings:
        return Html("")
    return element("ul", *(element("li", text) for text in warnings), class_="warnings")


def _columns(columns: Sequence[ColumnReport]) -> Html:
    if not columns:
        return Html("")
    note = element(
        "p",
        "What each column was taken for, and why. The options --categorical, --continuous and --drop override it.",
        class_="note",
    )
    lines = [
        (c.name, c.role, " → ".join(c.operators), c.reason, c.dtype, f"{c.distinct:,}", f"{c.nulls:,}")
        for c in columns
    ]
    header = ("column", "role", "operators", "reason", "type", "distinct", "nulls")
    return join([note, table(header, lines, ("distinct", "nulls"))])


def _run(report: RunReport) -> Html:
    parts = [table(("rows", "number"), [(name, f"{rows:,}") for name, rows in report.rows.items()], ("number",))]
    if report.seconds:
        parts.append(table(("stage", "time"), [(k, duration(s)) for k, s in report.seconds.items()], ("time",)))
    if report.rates:
        rates = [(name, f"{rate:,.0f}") for name, rate in report.rates.items()]
        parts.append(table(("speed", "rows/s"), rates, ("rows/s",)))
    if report.command:
        parts += [element("h3", "Repeat this run"), element("pre", element("code", report.command))]
    if report.options:
        parts.append(_options(report.options))
    return join(parts)


def _options(options: Mapping[str, Any]) -> Html:
    lines = [(name, "" if value is None else str(value)) for name, value in options.items()]
    return element("details", element("summary", "All options"), table(("option", "value"), lines))
