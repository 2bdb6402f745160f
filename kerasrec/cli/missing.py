"""What `kerasrec doctor` finds missing: what it is for, and the command that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Installation:
    """What is installed, as far as something may be missing.

    Args:
        tensorflow: why TensorFlow and Keras cannot be imported; "" if they can.
        backend: that of Keras.
        gpus: how many GPUs TensorFlow sees.
        nvidia_driver: whether there is a driver of NVIDIA's.
        horovod: why Horovod cannot be used; "" if it can.
        compiler: whether there is a C++ compiler.
        kernels: whether the compiled operations are loaded.
        modules: name of an optional module -> whether it is installed: "cudf", "distributed", "fsspec".
    """

    tensorflow: str = ""
    backend: str = "tensorflow"
    gpus: int = 0
    nvidia_driver: bool = False
    horovod: str = ""
    compiler: bool = True
    kernels: bool = True
    modules: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Missing:
    """Something that is missing; nothing works without it if it is `required`."""

    what: str
    command: str
    required: bool = False


def missing(found: Installation) -> Iterator[Missing]:
    """Yield what is missing, the required first."""
    if found.tensorflow:
        extra = "gpu" if found.nvidia_driver else "cpu"
        text = f"TensorFlow cannot be imported ({found.tensorflow}): it trains and serves models."
        yield Missing(text, f'pip install "kerasrec[{extra}]"', required=True)
    elif found.backend != "tensorflow":
        text = f"Keras runs on {found.backend}: embedding tables over ranks and SavedModels need TensorFlow."
        yield Missing(text, "unset KERAS_BACKEND")
    if not found.tensorflow and found.nvidia_driver and not found.gpus:
        text = "TensorFlow sees no GPU, though there is a driver: it trains on the CPU."
        yield Missing(text, 'pip install "kerasrec[gpu]"')
    if not found.compiler:
        text = "There is no C++ compiler: training on CPUs is somewhat slower, and Horovod cannot be built."
        yield Missing(text, "apt-get install g++")
    elif not found.kernels and not found.tensorflow:
        text = "The compiled operations are not loaded: training on CPUs is somewhat slower."
        yield Missing(text, "unset KERASREC_KERNELS; kerasrec --debug doctor")
    if found.horovod:
        text = f"Horovod is {found.horovod}: kerasrec runs as one rank."
        yield Missing(text, "python -m kerasrec.parallel.horovod_wheel")
    for module, what, extra in (
        ("cudf", "cuDF is not installed: feature engineering on the NVIDIA GPU that is here.", "gpu"),
        ("distributed", "Dask is not installed: feature engineering on a cluster.", "dask"),
        ("fsspec", "fsspec is not installed: data at addresses such as s3://.", "remote"),
    ):
        if module not in found.modules and (module != "cudf" or found.nvidia_driver):
            yield Missing(what, f'pip install "kerasrec[{extra}]"')
