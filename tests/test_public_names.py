"""What a user sees of the packages: `dir()`, tab completion, messages of mistyped names, hints in `help()`."""

import importlib
import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import kerasrec as kr

MODULES = ["", *(f".{name}" for name in dir(kr) if isinstance(getattr(kr, name), ModuleType))]
# Parameters and results of public functions, classes and their methods whose hint is a bare `Any`, by package. Put
# types in their place and lower the number; it must not grow.
ANY = {
    "": 6,
    "callbacks": 8,
    "data": 1,
    "etl": 8,
    "layers": 4,
    "models": 2,
    "optimizers": 4,
    "parallel": 1,
    "schema": 1,
    "serving": 3,
}


@pytest.mark.parametrize("name", MODULES)
def test_dir_shows_the_public_names_and_no_others(name):
    module = importlib.import_module(f"kerasrec{name}")
    shown = [each for each in dir(module) if not each.startswith("__")]
    assert sorted(shown) == sorted(each for each in module.__all__ if not each.startswith("__"))
    assert shown
    assert not {"annotations", "importlib", "Any", "TYPE_CHECKING"} & set(shown)
    for each in shown:
        assert getattr(module, each) is not None


SCRIPT = """
import sys, rlcompleter
import kerasrec as kr
completer = rlcompleter.Completer({"kr": kr})
dir(kr), dir(kr.checkpoint), dir(kr.parallel), dir(kr.data), dir(kr.callbacks), dir(kr.serving), dir(kr.etl)
first = completer.complete("kr.Sch", 0), completer.complete("kr.Sch", 1)
print("keras" in sys.modules, "tensorflow" in sys.modules, *first)
"""


def test_dir_and_completion_import_nothing_that_was_not_asked_for():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "kr.Schema(", "kr.SchemaError("]


@pytest.mark.parametrize(
    ("module", "name", "meant"),
    [
        (kr, "Optimizers", "optimizers"),
        (kr, "loader", "Loader"),
        (kr, "DataLoader", "Loader"),
        (kr.models, "DLMR", "DLRM"),
        (kr.models, "WideDeep", "WideAndDeep"),
        (kr.layers, "DistributedEmbeddings", "DistributedEmbedding"),
        (kr.parallel, "ranks", "rank"),
        (kr.serving, "exprot", "export"),
        (kr.callbacks, "CheckPoint", "Checkpoint"),
    ],
)
def test_a_mistyped_name_suggests_the_nearest(module, name, meant):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; did you mean '{meant}'"):
        getattr(module, name)


def test_a_name_of_nothing_suggests_nothing():
    with pytest.raises(AttributeError, match=r"no attribute 'quaternion'$"):
        _ = kr.quaternion


def test_models_by_name(tmp_path, monkeypatch):
    for name, cls in {"dlrm": "DLRM", "DCN": "DCN", "deepfm": "DeepFM", "wide_and_deep": "WideAndDeep"}.items():
        assert kr.models.by_name(name) is getattr(kr.models, cls)
    (tmp_path / "my_own.py").write_text("class Mine: pass\nnumber = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert kr.models.by_name("my_own:Mine").__name__ == "Mine"
    for name, message in {
        "dlmr": "no model 'dlmr'; available: lr, fm, .* or 'module:Class'; did you mean 'dlrm'",
        "my_own:Yours": "cannot import my_own:Yours",
        "nothing:Mine": "cannot import nothing:Mine: No module named 'nothing'",
        "my_own:number": "my_own:number is not a class",
    }.items():
        with pytest.raises(ValueError, match=message):
            kr.models.by_name(name)


# ---- hints -------------------------------------------------------------------------------------------------
def bare(annotation):
    return annotation in ("Any", "Any | None", inspect.Parameter.empty)


def of_function(function):
    """The parameters of a function without a type, and its result."""
    signature = inspect.signature(function)
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    for name, parameter in signature.parameters.items():
        if name not in ("self", "cls") and parameter.kind not in kinds and bare(parameter.annotation):
            yield name
    if bare(signature.return_annotation) and function.__name__ != "__init__":
        yield "return"


def untyped(name, value):
    if inspect.isclass(value):
        for method, function in vars(value).items():
            function = getattr(function, "__func__", function)
            public = method == "__init__" or not method.startswith("_")
            if public and inspect.isfunction(function) and function.__module__.startswith("kerasrec"):
                yield from (f"{name}.{method}: {each}" for each in of_function(function))
    elif inspect.isfunction(value):
        yield from (f"{name}: {each}" for each in of_function(value))


@pytest.mark.parametrize("name", MODULES)
def test_no_more_hints_are_any(name):
    module = importlib.import_module(f"kerasrec{name}")
    found = [line for each in module.__all__ for line in untyped(each, getattr(module, each))]
    assert len(found) <= ANY.get(name.removeprefix("."), 0), found
