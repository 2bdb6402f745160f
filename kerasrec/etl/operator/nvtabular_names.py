"""What the names of NVTabular 23.8, and misspelt ones, are called in `kerasrec.etl`, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

_NAMES = {
    "AddMetadata": "AddTags",
    "AddProperties": "AddTags",
    "TagAsUserFeatures": 'AddTags("user")',
    "TagAsItemFeatures": 'AddTags("item")',
    "TagAsUserID": 'AddTags("user_id")',
    "TagAsItemID": 'AddTags("item_id")',
    "ColumnGroup": 'a list of names, such as ["user", "item"] >> Categorify()',
    "ColumnSelector": 'a list of names, such as ["user", "item"] >> Categorify()',
    "DataStats": "Workflow.input_schema and Dataset.schema",
    "Dropna": "DropNA",
    "HashedBucket": "HashBucket",
    "HashingVectorizer": "HashBucket",
    "Schema": "kr.Schema",
    "Tags": "kr.Tag",
    "UniformNegativeSampling": "NegativeSampling",
    "WorkflowNode": "Node",
    "get_embedding_sizes": "schema[column].cardinality and schema[column].embedding_dim",
}


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return what to use in place of `name`, which is none of the `known` names."""
    if name in _NAMES:
        return f"use {_NAMES[name]}"
    by_lower = {option.lower(): option for option in [*known, *_NAMES]}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    if not near:
        return f"available: {', '.join(known)}"
    return f"did you mean {_NAMES.get(by_lower[near[0]], by_lower[near[0]])}?"
