"""Where tables live and how ranks exchange what they look up."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasrec.parallel.alike import RanksDiffer
    from kerasrec.parallel.batch_share import step
    from kerasrec.parallel.callback import Callback
    from kerasrec.parallel.checkpoint import restore, save
    from kerasrec.parallel.comm import rank, size
    from kerasrec.parallel.layout import Plan, TablePlan, explicit
    from kerasrec.parallel.planner import DoesNotFit, plan

# No module may be named like one of these: importing it would put it in the name's place.
_HOME = {
    "Callback": "callback",
    "DoesNotFit": "planner",
    "Plan": "layout",
    "RanksDiffer": "alike",
    "TablePlan": "layout",
    "explicit": "layout",
    "plan": "planner",
    "rank": "comm",
    "restore": "checkpoint",
    "save": "checkpoint",
    "size": "comm",
    "step": "batch_share",
}

__all__ = [
    "Callback",
    "DoesNotFit",
    "Plan",
    "RanksDiffer",
    "TablePlan",
    "explicit",
    "plan",
    "rank",
    "restore",
    "save",
    "size",
    "step",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
