"""Write the report on a training run: plots, and a page that shows them."""

from __future__ import annotations

from pathlib import Path

from kerasrec.cli.plots import calibration, learning_curve
from kerasrec.cli.run_report import RunReport


def write_report(folder: Path, report: RunReport) -> None:
    """Write the plots of `report` to `folder`, which is made if there is none.

    The plots of the first target are `learning_curve.png` and `calibration.png`, those of the second one end in
    `_2`, and so on, since a target's name need not be the name of a file.
    """
    for number, target in enumerate(report.targets, 1):
        suffix = "" if number == 1 else f"_{number}"
        lines = {name: baseline.scores for name, baseline in target.baselines.items()}
        learning_curve(
            folder / f"learning_curve{suffix}.png", target.checks, target.loss_metric, target.bounds, lines
        )
        binary = target.task == "binary"
        calibration(folder / f"calibration{suffix}.png", target.labels, target.predictions, target.name, binary)
