"""A recommender as a SavedModel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from kerasrec.serving.recommend import input_names
from kerasrec.serving.recommender.recommender import Recommender
from kerasrec.serving.served_recommender import RECOMMENDER
from kerasrec.serving.write import export_on_ranks, write_saved_model

if TYPE_CHECKING:
    from kerasrec.etl.workflow import Workflow


def export_recommender(recommender: Recommender, path: Path, workflow: Workflow | None, overwrite: bool) -> Path:
    """Write a recommender as a SavedModel; see `kr.serving.export`."""
    if workflow is not None:
        raise ValueError("workflow=: a recommender has the workflows of its stages; leave it out")
    stages = recommender.stages

    def write(_: None) -> None:
        graph = recommender.graph()
        signature = graph.trace()
        description = graph.describe(signature)

        def write_extra(folder: Path) -> None:
            stages.request.save(folder)
            names = json.dumps(input_names(description), ensure_ascii=False)
            (folder / RECOMMENDER).write_text(names, encoding="utf-8")

        write_saved_model(graph, {"serving_default": signature}, path, overwrite, description, write_extra)

    models = [stages.retriever.index.model, stages.ranker.model]
    return export_on_ranks(models, path, overwrite, lambda: None, write)
