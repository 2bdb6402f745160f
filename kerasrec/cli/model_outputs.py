"""What a model predicts, by target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from kerasrec.cli.errors import CommandError


def by_name(output: Any, targets: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return target -> predictions of what `model.predict` returns for one target or several.

    Raises:
        CommandError: the model does not predict the workflow's targets.
    """
    named = output if isinstance(output, dict) else dict.fromkeys(targets[:1], output)
    if sorted(named) != sorted(targets):
        raise CommandError(
            f"the model predicts {', '.join(named) or 'one target'}, but the workflow has the targets "
            f"{', '.join(targets) or 'none'}; pass a folder in which both were saved by one training run"
        )
    return {name: named[name] for name in targets}
