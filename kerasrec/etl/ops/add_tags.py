"""AddTags: marks columns as features of the user or of the item, as weights, and so on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kerasrec.etl.operator.elementwise import Elementwise
from kerasrec.schema import Column, SchemaError, Tag
from kerasrec.tags import as_tag

IMPLIED = {Tag.USER_ID: Tag.USER, Tag.ITEM_ID: Tag.ITEM, Tag.SESSION_ID: Tag.SESSION}
MERLIN = {"binary_classification": Tag.BINARY, "multi_class_classification": "multi_class"}
TARGETS = (Tag.TARGET, Tag.BINARY, Tag.REGRESSION, "multi_class")


@dataclass(repr=False)
class AddTags(Elementwise):
    """Add tags to columns; values and dtypes stay the same.

    - "weight" makes the column the weight of a row in the loss: float32, neither a feature nor an input of a
      served model. `kr.Loader` yields it as `sample_weight` if it is the schema's only one.
    - "user" and "item" say whose features they are; two-tower models read them. "user_id" adds "user" as well,
      "item_id" "item" and "session_id" "session".
    - "time", "session", "context", "sequence" and the other names of `kr.Tag`, and any string of your own, are
      kept in the schema, for `schema.select("time")`.
    - "categorical", "continuous", "list" and the tags of targets are set by the operators that make them true;
      here they must be true already.

    NVTabular's `AddTags` is the same; its `TagAsUserID` is `AddTags("user_id")`.

    Args:
        tags: one or several; strings, or members of `kr.Tag`.

    Raises:
        ValueError: a tag is empty, or looks like a misspelt known one.
        SchemaError: (in fit) a weight of strings, dates, lists or ids; a tag that is not true.

    Example:

    >>> users = ["age", "city"] >> AddTags(["user"])
    >>> weight = ["seconds_watched"] >> AddTags("weight")
    """

    tags: Sequence[Tag | str]

    def __post_init__(self) -> None:
        tags = [self.tags] if isinstance(self.tags, str) else list(self.tags)
        try:
            known = [str(as_tag(MERLIN.get(tag, tag))) for tag in tags]
        except ValueError as error:
            raise ValueError(f"AddTags: {error}") from None
        self.tags = list(dict.fromkeys([*known, *(str(IMPLIED[Tag(t)]) for t in known if t in IMPLIED)]))

    def column(self, column: Column) -> Column:
        for tag in self.tags:
            if problem := _problem(tag, column):
                raise SchemaError(f"AddTags({str(tag)!r}) of column {column.name!r}: {problem}")
        return column.evolve(add_tags=self.tags)


def _problem(tag: str, column: Column) -> str | None:
    """Return why `column` cannot have `tag`; None where it can."""
    if tag in column.tags:
        return None
    number = column.dtype not in ("string", "datetime") and Tag.CATEGORICAL not in column.tags
    kind = "a column of ids" if Tag.CATEGORICAL in column.tags else f"{column.dtype}{' lists' * column.is_list}"
    if tag in TARGETS:
        return "use Target(), which also checks and casts the values"
    if tag == Tag.CATEGORICAL:
        return "an operator that outputs ids adds this tag: use Categorify, HashBucket or Bucketize"
    if tag == Tag.LIST and not column.is_list:
        return f"it has one {column.dtype} per row; SplitString makes lists of strings"
    if tag == Tag.CONTINUOUS and not number:
        return f"it is {kind}, not numbers"
    if tag == Tag.WEIGHT and (not number or column.is_list):
        return f"it is {kind}; a weight is one number per row"
    return None
