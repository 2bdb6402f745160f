"""Write the report on a training run: plots, and a page that shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kerasrec.cli.plots import Draw, calibration, histogram, learning_curves, write_png
from kerasrec.cli.report_page import page
from kerasrec.cli.run_report import RunReport
from kerasrec.files import write_aside


def write_report(folder: Path, report: RunReport) -> None:
    """Write `index.html`, which needs no other file and no network, and plots to `folder`, made if there is none.

    The plots of the first target are `learning_curve.png` and `calibration.png`, those of the second one end in
    `_2`, and so on, since a target's name need not be the name of a file.
    """
    for number, target in enumerate(report.targets, 1):
        suffix = "" if number == 1 else f"_{number}"
        plots: dict[str, Mapping[str, Draw]] = {
            "learning_curve": learning_curves(target),
            "calibration": {"Calibration on the held-out rows": calibration(target), "": histogram(target)},
        }
        for name, draws in plots.items():
            if draws:
                write_png(folder / f"{name}{suffix}.png", draws)
    with write_aside(folder / "index.html") as temporary:
        temporary.write_text(page(report), encoding="utf-8")
