"""Plots show the numbers that they are made of, read back from the drawing, and no file is blank."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from kerasrec.cli import plots
from kerasrec.cli.plots import calibration, learning_curve, write_summary
from kerasrec.cli.run_report import Check


@pytest.fixture
def drawn(monkeypatch):
    """The figures in the order they are saved, still as matplotlib's objects."""
    figures, save = [], Figure.savefig

    def remember(figure, *args, **kwargs):
        figures.append(figure)
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(plots.Figure, "savefig", remember)
    return figures


def is_drawn(path) -> bool:
    """More than one colour, on more than a hundredth of the picture."""
    pixels = imread(path)[..., :3]
    return pixels.shape[0] > 300 and (pixels < 0.9).any(axis=-1).mean() > 0.01


def test_learning_curve(tmp_path, drawn):
    checks = [Check(1000 * k, 0.5 / k, {"auc": 0.7 + 0.01 * k, "logloss": 0.6 - 0.01 * k}) for k in (1, 2, 3)]
    learning_curve(
        tmp_path / "c.png", checks, "logloss", {"auc": 0.8, "logloss": 0.4}, {"biases only": {"auc": 0.65}}
    )
    assert is_drawn(tmp_path / "c.png")
    loss, auc = drawn[0].axes
    assert (loss.get_ylabel(), auc.get_ylabel(), auc.get_xlabel()) == ("log loss", "AUC", "rows trained on")
    lines = {line.get_label(): line.get_ydata() for line in loss.lines}
    np.testing.assert_allclose(lines["training"], [0.5, 0.25, 0.5 / 3])
    np.testing.assert_allclose(lines["held out"], [0.59, 0.58, 0.57])
    np.testing.assert_allclose(lines["bound: the true probabilities, 0.4000"], 0.4)
    assert [text.get_text() for text in auc.get_legend().get_texts()] == [
        "held out",
        "bound: the true probabilities, 0.8000",
        "biases only, 0.6500",
    ]


@pytest.mark.parametrize("binary", [True, False])
def test_calibration_points_are_group_means(tmp_path, drawn, binary):
    rng = np.random.default_rng(0)
    scores = rng.random(2000)
    labels = (rng.random(2000) < scores) * 1.0 if binary else scores * 3 + rng.normal(size=2000)
    calibration(tmp_path / "c.png", labels[:, None], scores[:, None], "clicked", binary)
    assert is_drawn(tmp_path / "c.png")
    top, bottom = drawn[0].axes
    (points,) = (line for line in top.lines if line.get_marker() == "o")
    order = np.argsort(scores)
    np.testing.assert_allclose(points.get_xdata(), scores[order].reshape(20, 100).mean(axis=1))
    np.testing.assert_allclose(points.get_ydata(), labels[order].reshape(20, 100).mean(axis=1))
    assert "clicked" in top.get_ylabel()
    assert bottom.get_xlabel() == ("predicted probability" if binary else "predicted 'clicked'")
    assert sum(bar.get_height() for bar in bottom.patches) == 2000


def test_calibration_of_very_few_rows(tmp_path):
    calibration(tmp_path / "c.png", np.array([1.0]), np.array([0.3]), "clicked", True)
    assert is_drawn(tmp_path / "c.png")


def test_summary(tmp_path):
    write_summary(tmp_path / "summary.json", {"auc": 0.5})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"auc": 0.5}
