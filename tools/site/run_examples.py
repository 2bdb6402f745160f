"""Run the examples and keep what each block prints: `run_examples.py`, or `run_examples.py --check` in tests.

The outputs are in `examples/output/`, from which the gallery takes them. `--check` writes nothing and fails if an
example prints other lines than those; figures may differ, because they depend on the machine. So they may be those
of a short training: `--check --short`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, os.path.dirname(__file__))

from gallery_pages import EXAMPLES, blocks, join_outputs, output_file

SHORT = {"--epochs": "2", "--seeds": "1"}


def main() -> int:
    """Run the examples that the command line names, or all of them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("examples", nargs="*", type=Path, help="scripts; all of examples/ by default")
    parser.add_argument(
        "--check", action="store_true", help="compare with examples/output/ instead of writing there"
    )
    parser.add_argument("--short", action="store_true", help="train for few epochs, and each model once")
    args = parser.parse_args()
    if args.short and not args.check:
        parser.error("--short is for --check: what is kept is of a whole training")
    failed = []
    for path in args.examples or sorted(EXAMPLES.glob("*.py")):
        try:
            text = join_outputs(outputs(path, SHORT if args.short else {}))
        except Exception:
            traceback.print_exc()
            failed.append(path.name)
            continue
        kept = output_file(path)
        if not args.check:
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(text, encoding="utf-8")
        elif (now := without_figures(text)) != (before := without_figures(kept.read_text(encoding="utf-8"))):
            failed.append(path.name)
            changed = [line for pair in zip(now, before, strict=False) if pair[0] != pair[1] for line in pair]
            print(f"{path.name} prints other lines than {kept}; run: make gallery", *changed[:2], sep="\n  ")
    print(f"failed: {', '.join(failed)}" if failed else "all examples ran")
    return len(failed)


def outputs(path: Path, options: Mapping[str, str]) -> list[str]:
    """Run a script block by block, as Python would run it, and return what each block of code printed.

    Args:
        path: the script.
        options: those of its command line to pass, where it has them.
    """
    import keras

    keras.utils.clear_session()  # names of models are numbered from the first one on
    path = path.resolve()
    script = path.read_text(encoding="utf-8")
    arguments = [each for name, value in options.items() if f'"{name}"' in script for each in (name, value)]
    namespace = {"__name__": "__main__", "__file__": str(path)}
    printed = []
    with _alone(path, arguments):
        for block in blocks(script):
            if not block.is_code:
                continue
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), namespace)
            printed.append(stream.getvalue())
    return printed


@contextlib.contextmanager
def _alone(path: Path, arguments: list[str]) -> Iterator[None]:
    """Run a script in an empty folder."""
    argv, sys.argv = sys.argv, [str(path), *arguments]
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            yield
    finally:
        sys.argv = argv


def without_figures(text: str) -> list[str]:
    """Return the lines of a text with every number as `#`, and runs of spaces and of rules as one.

    What comes of a number's length goes as well: NumPy's space after a short one, Keras's ms or s.
    """
    text = re.sub(r"-?\d[\d.,]*(e[+-]?\d+)?|\bnan\b", "#", text)
    text = re.sub(r"# +\]", "#]", re.sub(r"#[mu]?s/step", "#s/step", text))
    return [re.sub(r"([ ─═])\1+", r"\1", line).rstrip() for line in text.splitlines()]


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
