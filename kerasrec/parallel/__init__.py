"""Where tables live and how ranks exchange what they look up."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasrec.parallel.checkpoint import restore, save
    from kerasrec.parallel.layout import Plan, TablePlan, explicit
    from kerasrec.parallel.planner import DoesNotFit, plan

# No module may be named like one of these: importing it would put it in the name's place.
_HOME = {
    "DoesNotFit": "planner",
    "Plan": "layout",
    "TablePlan": "layout",
    "explicit": "layout",
    "plan": "planner",
    "restore": "checkpoint",
    "save": "checkpoint",
}

__all__ = ["DoesNotFit", "Plan", "TablePlan", "explicit", "plan", "restore", "save"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
