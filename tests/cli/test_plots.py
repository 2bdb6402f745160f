"""Plots show the numbers that they are made of, read back from the drawing, and no file is blank."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from kerasrec.cli.plots import calibration, gains, histogram, learning_curves, to_svg, write_png, write_summary
from kerasrec.cli.run_report import Baseline, Check, TargetReport

CHECKS = [Check(1000 * k, 0.5 / k, {"auc": 0.7 + 0.01 * k, "logloss": 0.6 - 0.01 * k}) for k in (1, 2, 3)]


def drawn(draw):
    axis = Figure().subplots()
    draw(axis)
    return axis


def lines(axis):
    return {line.get_label(): line for line in axis.lines}


def target(task="binary", **changes):
    rng = np.random.default_rng(0)
    predictions = rng.random(2000)
    labels = (
        (rng.random(2000) < predictions) * 1.0 if task == "binary" else predictions * 3 + rng.normal(size=2000)
    )
    return TargetReport("y", task, labels[:, None], predictions[:, None], CHECKS, CHECKS[-1].scores, **changes)


def is_drawn(path) -> bool:
    """More than one colour, on more than a hundredth of the picture."""
    pixels = imread(path)[..., :3]
    return pixels.shape[0] > 300 and (pixels < 0.9).any(axis=-1).mean() > 0.01


def test_learning_curves():
    baselines = {"biases only": Baseline({"auc": 0.65}, np.zeros(2000))}
    draws = learning_curves(target(bounds={"auc": 0.8, "logloss": 0.4}, baselines=baselines))
    assert list(draws) == ["Log loss while training", "AUC while training"]
    loss, auc = (drawn(draw) for draw in draws.values())
    assert (loss.get_ylabel(), auc.get_ylabel(), auc.get_xlabel()) == ("log loss", "AUC", "rows trained on")
    np.testing.assert_allclose(lines(loss)["training"].get_ydata(), [0.5, 0.25, 0.5 / 3])
    np.testing.assert_allclose(lines(loss)["held out"].get_ydata(), [0.59, 0.58, 0.57])
    np.testing.assert_allclose(lines(loss)["bound: the true probabilities, 0.4000"].get_ydata(), 0.4)
    assert [text.get_text() for text in auc.get_legend().get_texts()] == [
        "held out",
        "bound: the true probabilities, 0.8000",
        "biases only, 0.6500",
    ]


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_calibration_points_are_group_means(task):
    report = target(task)
    axis = drawn(calibration(report))
    (points,) = (line for line in axis.lines if line.get_marker() == "o")
    order = np.argsort(report.predictions[:, 0])
    np.testing.assert_allclose(points.get_xdata(), report.predictions[order, 0].reshape(20, 100).mean(axis=1))
    np.testing.assert_allclose(points.get_ydata(), report.labels[order, 0].reshape(20, 100).mean(axis=1))
    bars = drawn(histogram(report))
    assert bars.get_xlabel() == ("predicted probability" if task == "binary" else "predicted value")
    assert sum(bar.get_height() for bar in bars.patches) == 2000


def test_rows_of_no_weight_are_not_in_the_calibration():
    report = target(weights=np.repeat([1.0, 0.0], 1000))
    wrong = np.concatenate([report.labels[:1000], 1 - report.labels[1000:]])
    axes = [drawn(calibration(replace(report, labels=labels))) for labels in (report.labels, wrong)]
    first, second = (next(line for line in axis.lines if line.get_marker() == "o") for axis in axes)
    np.testing.assert_allclose(first.get_ydata(), second.get_ydata(), atol=1e-9)


def test_gains_count_the_ones_among_the_highest_predictions():
    labels, predictions = np.array([1, 0, 1, 0, 0.0]), np.array([0.9, 0.8, 0.7, 0.2, 0.1])
    constant = {"base rate": Baseline({"auc": 0.5}, np.full(5, 0.4))}
    axis = drawn(gains(TargetReport("y", "binary", labels, predictions, [], {}, constant)))
    np.testing.assert_allclose(lines(axis)["model"].get_ydata(), [0, 0.5, 0.5, 1, 1, 1])
    np.testing.assert_allclose(lines(axis)["model"].get_xdata(), [0, 0.2, 0.4, 0.6, 0.8, 1])
    np.testing.assert_allclose(lines(axis)["base rate"].get_ydata(), [0, 1])


def test_plots_of_very_few_rows_are_files_that_are_not_blank(tmp_path):
    one = TargetReport("y", "binary", np.array([1.0]), np.array([0.3]), CHECKS[:1], CHECKS[0].scores)
    plots = {**learning_curves(one), "calibration": calibration(one), "": histogram(one), "gains": gains(one)}
    write_png(tmp_path / "c.png", plots)
    assert is_drawn(tmp_path / "c.png")


def test_an_svg_takes_its_colors_from_the_page_and_shares_no_id_with_another():
    report = target(baselines={"base rate": Baseline({"auc": 0.5}, np.full(2000, 0.5))})
    svgs = [to_svg(title, draw) for title, draw in learning_curves(report).items()]
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in svgs]
    assert not ids[0] & ids[1]
    for svg in svgs:
        assert svg.startswith("<svg ")
        assert svg.endswith("</svg>")
        assert not re.findall(r"#[0-9a-f]{6}", svg)
        assert "currentColor" in svg
        assert "rows trained on" in svg  # text, not outlines


def test_summary(tmp_path):
    write_summary(tmp_path / "summary.json", {"auc": 0.5})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"auc": 0.5}
