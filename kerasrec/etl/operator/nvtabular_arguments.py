"""The names that arguments of NVTabular 23.8's operators have in kerasrec, for error messages."""

from __future__ import annotations

from collections.abc import Collection, Sequence

_STORAGE = "statistics are kept in memory and saved by Workflow.save: leave it out"
_PARTS = "statistics are merged in a tree of fixed shape: leave it out"
_TYPE = "ids are int32 or int64, other features float32: leave it out (see ReduceDtypeSize)"
_TABLE = "use Categorify(table=...) for columns that share a table, and combo=True to combine columns"
_KEYS = "write columns to group or combine as inner lists before >>"

_ANY = {
    **dict.fromkeys(("out_path", "cat_cache", "cache", "on_host", "on_device"), _STORAGE),
    **dict.fromkeys(("split_out", "split_every", "tree_width", "cardinality_memory_limit"), _PARTS),
    **dict.fromkeys(("dtype", "out_dtype", "float_dtype"), _TYPE),
    **dict.fromkeys(("tags", "properties"), "use AddTags"),
    "label": "name the columns before >>",
}
_OF: dict[str, dict[str, str]] = {
    "Categorify": {
        "freq_threshold": "use min_count (1 in place of 0)",
        "encode_type": _TABLE,
        "single_table": _TABLE,
        "name_sep": "combinations are joined with _: use Rename",
        "start_index": "ids are 0 padding, 1 null, 2 out of vocabulary, then the vocabulary: leave it out",
        "na_sentinel": "null is id 1: leave it out",
        "search_sorted": "leave it out",
    },
    "Clip": {"min_value": "use min", "max_value": "use max"},
    "FillMissing": {"fill_val": "use value"},
    "JoinExternal": {"kind_ext": "df_ext takes whatever Workflow.fit takes: leave it out"},
    "LambdaOp": {"dependency": "with LambdaOp(f, name=...), f gets an expression per column before >>"},
    "Rename": {"f": "use names, a function of a name", "name": "use names"},
    "TargetEncoding": {
        "out_col": "outputs are named TE_key_target: use Rename",
        "drop_folds": "folds are not an output column: leave it out",
    },
    "HashBucket": {"encode_type": _KEYS},
    "HashedCross": {"encode_type": _KEYS},
}


def check_arguments(op: str, arguments: Collection[str], known: Sequence[str]) -> None:
    """Raise `TypeError` for arguments that operator `op` does not take, with the name of NVTabular's in
    kerasrec."""
    names = _ANY | _OF.get(op, {})
    for name in arguments:
        if name not in known and name in names:
            raise TypeError(f"{op} has no argument {name!r}: {names[name]}")
        if name not in known:
            raise TypeError(f"{op} has no argument {name!r}; available: {', '.join(known) or 'none'}")
