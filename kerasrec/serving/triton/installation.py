"""Where nvidia-pytriton's Triton server is, and what it needs of this Python."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from ctypes.util import find_library
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

UTILITIES = "triton_python_backend_utils.py"
INSTALL = 'pip install "kerasrec[serve]"'


class NotInstalledError(RuntimeError):
    """Triton cannot be started here; the message says what is missing and how to install it."""


@dataclass(frozen=True)
class Installation:
    """A Triton server and this Python.

    Attributes:
        folder: of pytriton's `tritonserver`: `bin/`, `backends/`, `python_backend_stubs/`.
        library: the folder of this Python's shared library; None where the system's loader finds it.
    """

    folder: Path
    library: Path | None

    @classmethod
    def find(cls) -> Installation:
        """Look for what is installed, without importing it.

        Raises:
            NotInstalledError: something is missing.
        """
        spec = importlib.util.find_spec("pytriton")
        if spec is None or spec.origin is None:
            raise NotInstalledError(f"Triton is not installed; run: {INSTALL}")
        if int(version("numpy").split(".")[0]) >= 2:  # the backend's arrays are those of NumPy 1
            raise NotInstalledError(
                f'nvidia-pytriton needs numpy<2; this is numpy {version("numpy")}: run: {INSTALL} "numpy<2"'
            )
        folder = Path(spec.origin).parent / "tritonserver"
        name = f"{sys.version_info.major}.{sys.version_info.minor}"
        if not (folder / "python_backend_stubs" / name).is_dir():
            raise NotInstalledError(f"nvidia-pytriton has no backend for Python {name}: use another Python")
        return cls(folder, _library_folder(name))

    def write_backends(self, folder: Path) -> None:
        """Link the Python backend, with the program for this version of Python, into a new folder.

        To its utilities the reader of strings of `read_strings.py` is added.
        """
        backend = folder / "python"
        backend.mkdir(parents=True)
        version_name = f"{sys.version_info.major}.{sys.version_info.minor}"
        stubs = self.folder / "python_backend_stubs" / version_name
        for file in (*(self.folder / "backends" / "python").iterdir(), *stubs.iterdir()):
            if file.name == UTILITIES:
                text = file.read_text(encoding="utf-8")
                ours = Path(__file__).with_name("read_strings.py").read_text(encoding="utf-8")
                (backend / file.name).write_text(f"{text}\n\n{ours}", encoding="utf-8")
            elif file.is_file():
                (backend / file.name).symlink_to(file)

    def environment(self) -> dict[str, str]:
        """Return the environment of the server, in which its Python finds this Python's packages."""
        package = str(Path(__file__).resolve().parents[3])  # wherever kerasrec is, also in editable mode
        paths = dict.fromkeys([*(path for path in sys.path if path), package])
        environment = {
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            **os.environ,
            "KERASREC_SYS_PATH": os.pathsep.join(paths),
        }
        if self.library is not None:
            libraries = [str(self.library), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
        return environment


def _library_folder(name: str) -> Path | None:
    """Return the folder of libpython, which the backend's program loads; this very Python's if it has one."""
    folder = sysconfig.get_config_var("LIBDIR")
    library = f"libpython{name}.so.1.0"
    for place in (folder, os.path.join(sys.base_prefix, "lib")):
        if place and (Path(place) / library).exists():
            return Path(place)
    if find_library(f"python{name}"):
        return None
    raise NotInstalledError(
        f"Triton needs {library}, which this Python, {sys.base_prefix}, has not: use one that was built with "
        f"--enable-shared (Debian's with libpython{name}, conda's, uv's, python.org's images)"
    )
