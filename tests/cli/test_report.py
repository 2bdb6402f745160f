"""The report's page, opened in a browser: what it says, that it fits, and that data cannot become markup."""

import numpy as np
import polars as pl
import pytest

from kerasrec.cli.report import write_report
from kerasrec.cli.run_report import Baseline, Check, ColumnReport, Importance, RunReport, TargetReport
from kerasrec.cli.scores import score
from kerasrec.cli.segments import find_segments
from tests.browser import open_page

EVIL = "<script>alert(1)</script>"
VALUES = ['a"b', "מוצר חדש", "größe & co", "<img src=x onerror=alert(2)>", None]
LONG = "column_" + "x" * 200


def target(name: str, task: str) -> TargetReport:
    rng = np.random.default_rng(0)
    p = rng.random(2000)
    y = (rng.random(2000) < p) * 1.0 if task == "binary" else 3 * p + rng.normal(size=2000)
    mean, good = np.full(2000, y.mean()), p if task == "binary" else 3 * p
    simple = {"base rate": mean, "biases only": (mean + good) / 2 if task == "binary" else good}
    baselines = {kind: Baseline(score(task, y, guess), guess) for kind, guess in simple.items()}
    reached = score(task, y, p)
    checks = [
        Check(1000 * k, 0.7 / k, {metric: value + 0.1 / k for metric, value in reached.items()}) for k in (1, 2)
    ]
    raw = pl.DataFrame({EVIL: rng.choice(VALUES, 2000).tolist(), "price": rng.lognormal(size=2000)})
    importance = {EVIL: Importance(0.12, 0.003), LONG: Importance(0.01, 0.001), "noise": Importance(-0.001, 0.001)}
    segments = find_segments(raw, task, y, p)
    return TargetReport(name, task, y, p, checks, reached, baselines, {}, None, importance, segments)


def report(*targets: TargetReport) -> RunReport:
    columns = [
        ColumnReport(EVIL, "String", "categorical", ("Categorify",), "strings that repeat", 5, 10),
        ColumnReport(LONG, "Float64", "continuous", ("FillMissing", "LogOp", "Normalize"), "decimals", 1999, 0),
    ]
    warnings = [f"Column {EVIL!r} gives the target away.", "12 rows with a null target were left out."]
    command = "kerasrec train --config 'a run/config.json' --out again"
    return RunReport(
        "dlrm",
        targets,
        {"training": 18_000, "held out": 2000},
        columns,
        warnings,
        {"learning_rate": 0.05, "drop": EVIL},
        {"features": 3.2, "training": 125.0},
        {"training": 120_000.0},
        command,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(folder / "one", report(target("clicked", "binary")))
    write_report(folder / "two", report(target("clicked", "binary"), target('נמכר "x" $a$', "regression")))
    return folder


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_a_browser_shows_every_section_and_runs_nothing(folder, width, scheme):
    with open_page(width=width) as page:
        page.emulate_media(color_scheme=scheme)
        page.on("dialog", lambda dialog: pytest.fail(f"the page ran a script: {dialog.message}"))
        page.on("request", lambda request: request.url.startswith("file:") or pytest.fail(request.url))
        page.goto((folder / "two" / "index.html").as_uri())
        headings = page.locator("h2").all_inner_texts()
        assert headings == ["Result", "Warnings", "Target clicked", 'Target נמכר "x" $a$', "Columns", "Run"]
        parts = page.locator("section h3").all_inner_texts()
        for part in (
            "Learning curve",
            "Calibration",
            "Gains",
            "Importance of columns",
            "Segments",
            "Repeat this run",
        ):
            assert part in parts
        assert page.evaluate("document.documentElement.scrollWidth") == width
        sizes = [box.bounding_box() for box in page.locator("figure svg").all()]
        assert len(sizes) == 8
        assert all(size["width"] > 250 and size["height"] > 150 for size in sizes)
        text = page.locator("body").inner_text()
        for said in (
            EVIL,
            *filter(None, VALUES),
            "better than both baselines",
            "worse than the baseline",
            LONG[:40],
        ):
            assert said in text.replace("\n", "")
        for link in page.locator("nav a").all():
            link.click()
        assert page.locator("script, img").count() == 0
        colors = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        dark, light = (sum(map(int, color[4:-1].split(","))) for color in colors)
        assert (dark < light) == (scheme == "dark")


def test_one_target_needs_no_heading_of_its_own(folder):
    with open_page() as page:
        page.goto((folder / "one" / "index.html").as_uri())
        assert page.title() == "dlrm for clicked"
        assert page.locator("h2").all_inner_texts() == ["Result", "Warnings", "Held-out rows", "Columns", "Run"]
        cells = page.locator("table").first.locator("th, td").all_inner_texts()
        assert cells[:4] == ["on held-out rows", "model", "biases only", "base rate"]
        assert cells[4] == "AUC"


def test_there_is_a_picture_per_target_beside_the_page(folder):
    names = sorted(path.name for path in (folder / "two").iterdir())
    plots = ["calibration.png", "calibration_2.png", "learning_curve.png", "learning_curve_2.png"]
    assert names == sorted([*plots, "index.html"])


def test_a_report_of_nothing_but_scores_is_a_page(tmp_path):
    bare = TargetReport("y", "binary", np.array([1.0]), np.array([0.3]), [], {"auc": float("nan"), "logloss": 1.2})
    write_report(tmp_path, RunReport("dcn", [bare], {"held out": 1}))
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "there is no baseline to compare" in page
    assert "Warnings" not in page
