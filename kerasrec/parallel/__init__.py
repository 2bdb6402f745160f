"""Where tables live and how ranks exchange what they look up."""

from typing import TYPE_CHECKING, Any

from kerasrec.public_names import public_names

if TYPE_CHECKING:
    from kerasrec.parallel.checkpoint.checkpoint import restore, save
    from kerasrec.parallel.comm.batch_share import step
    from kerasrec.parallel.comm.collectives import rank, size
    from kerasrec.parallel.fit.callback import Callback
    from kerasrec.parallel.fit.model import Model
    from kerasrec.parallel.fit.rank_check import RanksDiffer
    from kerasrec.parallel.planner.planner import DoesNotFit, plan
    from kerasrec.tables.plan import Plan, plan_from_placements
    from kerasrec.tables.table_plan import TablePlan

# No module may be named like one of these: importing it would put it in the name's place.
_HOME = {
    "Callback": "kerasrec.parallel.fit.callback",
    "DoesNotFit": "kerasrec.parallel.planner.planner",
    "Model": "kerasrec.parallel.fit.model",
    "Plan": "kerasrec.tables.plan",
    "RanksDiffer": "kerasrec.parallel.fit.rank_check",
    "TablePlan": "kerasrec.tables.table_plan",
    "plan": "kerasrec.parallel.planner.planner",
    "plan_from_placements": "kerasrec.tables.plan",
    "rank": "kerasrec.parallel.comm.collectives",
    "restore": "kerasrec.parallel.checkpoint.checkpoint",
    "save": "kerasrec.parallel.checkpoint.checkpoint",
    "size": "kerasrec.parallel.comm.collectives",
    "step": "kerasrec.parallel.comm.batch_share",
}

__all__ = [
    "Callback",
    "DoesNotFit",
    "Model",
    "Plan",
    "RanksDiffer",
    "TablePlan",
    "plan",
    "plan_from_placements",
    "rank",
    "restore",
    "save",
    "size",
    "step",
]


_get, __dir__ = public_names(__name__, __all__, _HOME)


def __getattr__(name: str) -> Any:
    if name == "explicit":
        raise AttributeError("kr.parallel.explicit was renamed in 0.2.0: use kr.parallel.plan_from_placements")
    return _get(name)
