"""An extension of griffe: examples that doctest reads are code; "Inputs:" and "Output:", Keras's, stand out."""

from __future__ import annotations

import re
from typing import Any

import griffe

HEADING = re.compile(r"^( *)((?:Example[^:\n]*|Inputs|Output):)(?=[ \n])", re.MULTILINE)
SESSION = re.compile(r"^(?P<indent> *)>>> .*?(?=\n *\n|\Z)", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r" *# doctest: \+[A-Z, +_]+$", re.MULTILINE)


class Examples(griffe.Extension):
    """Put fences around the sessions in docstrings, without doctest's directives."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            text = HEADING.sub(r"\n\1**\2**", obj.docstring.value)
            obj.docstring.value = SESSION.sub(_fenced, text)


def _fenced(match: re.Match[str]) -> str:
    indent = match["indent"]
    return f"{indent}```pycon\n{DIRECTIVE.sub('', match[0])}\n{indent}```"
