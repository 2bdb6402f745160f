"""`kerasrec serve`: SavedModels behind a Triton server."""

from __future__ import annotations

import json
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from kerasrec.cli.errors import CommandError
from kerasrec.serving.description import Description
from kerasrec.serving.triton.config import MAX_REQUESTS, NAME
from kerasrec.serving.triton.installation import NotInstalledError
from kerasrec.serving.triton.repository import CONFIG, default_name, write_link
from kerasrec.serving.triton.server import Address, Server, ServerError


def run_serve(models: Sequence[str], address: Address, max_rows: int, verbose: bool) -> None:
    """Serve until the process is interrupted; see `kerasrec serve --help`."""
    _check_ports(address)
    console = Console()
    with ExitStack() as stack:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        repository = _repository(models)
        if repository is None:
            repository = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kerasrec-serve-")))
            for name, path in _named(models).items():
                write_link(repository, name, path, max_rows=max_rows, max_requests=MAX_REQUESTS)
        names = sorted(path.parent.name for path in repository.glob(f"*/{CONFIG}"))
        console.print(f"starting Triton with {', '.join(names)} ...", markup=False, highlight=False)
        try:
            server = stack.enter_context(
                Server(repository, address, poll=bool(_repository(models)), verbose=verbose, show=sys.stderr.write)
            )
        except (NotInstalledError, ServerError) as error:
            raise CommandError(str(error)) from error
        for line in _where(address, names):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        try:
            code = server.wait()
        except KeyboardInterrupt:
            return
        raise CommandError(f"the server ended with code {code}{server.last_lines()}")


def _check_ports(address: Address) -> None:
    ports = {"--http-port": address.http, "--grpc-port": address.grpc, "--metrics-port": address.metrics}
    for option, port in ports.items():
        others = [name for name, other in ports.items() if other == port and name != option]
        if others:
            raise CommandError(f"{option} and {others[0]} are both {port}; they must differ")
        try:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address.host, port))
        except OSError as error:
            raise CommandError(
                f"cannot listen on {address.host}:{port} ({error.strerror or error}); "
                f"pass another {option} or --host"
            ) from None


def _repository(models: Sequence[str]) -> Path | None:
    """Return the path if it is of a model repository rather than of SavedModels."""
    path = Path(models[0])
    return path.resolve() if len(models) == 1 and any(path.glob(f"*/{CONFIG}")) else None


def _named(models: Sequence[str]) -> dict[str, Path]:
    """Return the path of each SavedModel by its name, which is that of the folder if none is given."""
    paths: dict[str, Path] = {}
    for model in models:
        name, given, path = model.partition("=")
        if not given or Path(model).exists():
            name, path = default_name(model), model
        if not NAME.fullmatch(name):
            raise CommandError(f"{name!r} is not the name of a model; pass another one, as in: clicks={path}")
        if name in paths:
            raise CommandError(f"two models are named {name!r}; pass another name for one, as in: other={path}")
        Description.read(path)
        paths[name] = Path(path)
    return paths


def _where(address: Address, names: Sequence[str]) -> list[str]:
    """Return the lines that say how to ask the server."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    body = json.dumps({"rows": '[{"COLUMN": VALUE, ...}]'})
    lines = [
        f"HTTP     {address.url}/v2/models/{names[0]}/infer",
        f"gRPC     {host}:{address.grpc}",
        f"metrics  http://{host}:{address.metrics}/metrics",
        f"curl -d '{body}' {address.url}/v2/models/{names[0]}/generate",
        "Ctrl-C ends the server.",
    ]
    if address.host not in ("127.0.0.1", "localhost", "::1"):
        lines.insert(0, f"Listening on {address.host}: whoever reaches it may ask. There is no login.")
    return lines
