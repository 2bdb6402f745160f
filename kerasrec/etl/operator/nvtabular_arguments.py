"""What arguments of NVTabular 23.8's operators are called here, for those who bring a script of its along."""

from __future__ import annotations

from collections.abc import Collection, Sequence

_STORAGE = "what was learned is kept in memory and by Workflow.save: leave it out"
_PARTS = "parts are merged in a tree of a set shape: leave it out"
_TYPE = "ids leave a workflow as int32 or int64, other features as float32: leave it out (see ReduceDtypeSize)"
_TABLE = "columns share a table with Categorify(table=...), and are combined with combo=True"
_KEYS = "columns to group or combine are lists within the list before >>"

_ANY = {
    **dict.fromkeys(("out_path", "cat_cache", "cache", "on_host", "on_device"), _STORAGE),
    **dict.fromkeys(("split_out", "split_every", "tree_width", "cardinality_memory_limit"), _PARTS),
    **dict.fromkeys(("dtype", "out_dtype", "float_dtype"), _TYPE),
    **dict.fromkeys(("tags", "properties"), "AddTags sets tags"),
    "label": "the columns before >> are named in its place",
}
_OF: dict[str, dict[str, str]] = {
    "Categorify": {
        "freq_threshold": "it is min_count here (NVTabular's 0 is our 1)",
        "encode_type": _TABLE,
        "single_table": _TABLE,
        "name_sep": "combinations are named with _: Rename them",
        "start_index": "ids are 0 padding, 1 null, 2 unknown, then the vocabulary: leave it out",
        "na_sentinel": "null is id 1: leave it out",
        "search_sorted": "leave it out",
    },
    "Clip": {"min_value": "it is min here", "max_value": "it is max here"},
    "FillMissing": {"fill_val": "it is value here"},
    "JoinExternal": {"kind_ext": "df_ext is whatever Workflow.fit takes: leave it out"},
    "LambdaOp": {"dependency": "f gets an expression for each column before >> with LambdaOp(f, name=...)"},
    "Rename": {"f": "it is names here, a function of a name", "name": "it is names here"},
    "TargetEncoding": {
        "out_col": "outputs are named TE_key_target: Rename them",
        "drop_folds": "folds are no column of the output: leave it out",
    },
    "HashBucket": {"encode_type": _KEYS},
    "HashedCross": {"encode_type": _KEYS},
}


def check_arguments(op: str, given: Collection[str], known: Sequence[str]) -> None:
    """Raise `TypeError` for arguments that operator `op` does not take, with what NVTabular's are called here."""
    names = _ANY | _OF.get(op, {})
    for name in given:
        if name not in known and name in names:
            raise TypeError(f"{op} takes no {name}=: {names[name]}")
        if name not in known:
            raise TypeError(f"{op} takes no {name}=; its arguments are: {', '.join(known) or 'none'}")
