"""The command line: `kerasrec demo | train | predict | evaluate | ...`; each command imports what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kerasrec.cli.command_options import command_of, given_options
from kerasrec.cli.errors import one_line_errors
from kerasrec.cli.names import column_names
from kerasrec.cli.options import TrainOptions

app = typer.Typer(
    help="Recommender models in Keras, from raw rows to served predictions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A folder that kerasrec train or Pipeline.save wrote.")
]

Trust = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE",
        help="A module of yours that the run needs, as mymodule of --model mymodule:MyModel. It is imported. "
        "Several times for several.",
    ),
]


def _version(requested: bool) -> None:
    if requested:
        from kerasrec import __version__

        typer.echo(f"kerasrec {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors, as in: kerasrec --debug train ...")
    ] = False,
) -> None:
    context.obj = debug


@app.command()
def demo(
    context: typer.Context,
    rows: Annotated[
        int, typer.Option(min=10_000, metavar="N", help="Rows in the click log. 10% of them are held out.")
    ] = 3_000_000,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Passes over the training rows. By default 1, or 2 below 200,000 rows."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report, index.html, and summary.json.")] = Path(
        "report"
    ),
    keep: Annotated[
        Path | None, typer.Option(help="Keep the click log, features and SavedModel in this new folder.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="The seed of the click log and of the model.")] = 0,
) -> None:
    """Generate a click log from a known model, train a DLRM on it, and serve raw rows."""
    with one_line_errors(context.obj):
        from kerasrec.cli.import_tensorflow import import_tensorflow

        import_tensorflow()
        from kerasrec.cli.demo import run_demo

        run_demo(rows=rows, epochs=epochs, out=out, keep=keep, seed=seed)


@app.command()
@command_of(TrainOptions)
def train(context: typer.Context, options: TrainOptions) -> None:
    """Train a model on your own table, and say whether it is any good.

    Roles of columns are guessed and printed; options override them. OUT gets the workflow, the model, config.json,
    results.json and a report to open in a browser.
    """
    with one_line_errors(context.obj):
        from kerasrec.cli.config import Config, merge, read_config
        from kerasrec.cli.train import run_train

        config = read_config(options.config) if options.config is not None else Config()
        options = merge(options, given_options(context), config)
        if options.data is None:
            raise typer.BadParameter("missing; pass a file, a folder or a glob pattern", param_hint="DATA")
        if not options.target:
            from kerasrec.cli.model_choice import choose_model

            choose_model(options.model, options.set or (), options.embedding_dim)  # some are trained without one
            raise typer.BadParameter("missing; pass the column to predict", param_hint="--target")
        run_train(options, config.columns)


@app.command()
def predict(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A folder that kerasrec train or Pipeline.save wrote, or a SavedModel of kerasrec export or "
            "kr.serving.export.",
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Raw rows, Parquet or CSV: a file, a folder or a quoted glob pattern."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="OUT", help="The file to write the predictions to, .parquet or .csv.")
    ] = Path("predictions.parquet"),
    keep: Annotated[
        str,
        typer.Option(
            metavar="COLUMNS",
            help='Columns of DATA to write beside the predictions, separated by commas, such as: id, "a, b".',
        ),
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier file at OUT.")] = False,
    trust: Trust = None,
) -> None:
    """Predict the rows of DATA, in their order, with the model of a training run or a SavedModel.

    DATA needs the columns that the model was trained on, but not the target; other columns are not read. For a
    SavedModel they are read some thousands at a time, so there may be more rows than fit into memory.
    """
    with one_line_errors(context.obj):
        from kerasrec.cli.predict import run_predict

        run_predict(run, data, out, column_names(keep), overwrite, trust or [])


@app.command()
def evaluate(
    context: typer.Context,
    run: RunFolder,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Raw rows with their targets, Parquet or CSV: a file, a folder or a quoted glob pattern.",
        ),
    ],
    by: Annotated[
        str,
        typer.Option(
            metavar="COLUMNS",
            help="Also show the figures for each value of these columns, or for ranges of their numbers.",
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Also write the figures to this JSON file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier file at OUT.")] = False,
    trust: Trust = None,
) -> None:
    """Show how well the model of a training run predicts rows whose targets are known."""
    with one_line_errors(context.obj):
        from kerasrec.cli.evaluate import run_evaluate

        run_evaluate(run, data, column_names(by), out, overwrite, trust or [])


@app.command()
def models(context: typer.Context) -> None:
    """Show the models that train takes, with their arguments and defaults."""
    with one_line_errors(context.obj):
        from kerasrec.cli.preconditions import check_backend

        check_backend(None)
        from kerasrec.cli.models import run_models

        run_models()


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def run(
    script: Annotated[Path, typer.Argument(help="A Python file that trains with kr.callbacks.Checkpoint.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of the script.")] = None,
    ranks: Annotated[
        int, typer.Option("-np", "--ranks", min=1, help="Number of processes; several need Horovod.")
    ] = 1,
    hosts: Annotated[
        str | None, typer.Option("-H", "--hosts", help="Hosts, as horovodrun takes them: host:2,other:2.")
    ] = None,
    restarts: Annotated[int, typer.Option(min=0, help="Restarts without a new checkpoint before giving up.")] = 3,
) -> None:
    """Run a training script, and restart it from its latest checkpoint when it fails."""
    with one_line_errors():
        from kerasrec.cli.run import run_job

        raise typer.Exit(run_job(script, arguments or [], ranks, hosts, restarts))


@app.command()
def plan(
    context: typer.Context,
    schema: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="A folder that kerasrec train wrote, a folder of features, or a schema.json."
        ),
    ],
    ranks: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="The number of ranks. By default the fewest whose memory is enough."
        ),
    ] = None,
    memory: Annotated[str, typer.Option(metavar="BYTES", help="The memory of each rank.")] = "80GiB",
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Rows per batch on each rank.")] = 65_536,
    optimizer: Annotated[
        str, typer.Option(metavar="NAME", help="The optimizer of the tables, whose state takes memory.")
    ] = "adagrad",
    embedding_dim: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="The width of all embeddings. By default the model's, or the schema's."
        ),
    ] = None,
    bandwidth: Annotated[
        str, typer.Option(metavar="BYTES", help="The bytes that a rank sends per second.")
    ] = "25GB",
    wire_dtype: Annotated[
        str, typer.Option(metavar="DTYPE", help="The data type of vectors that ranks send each other.")
    ] = "float32",
) -> None:
    """Show on which ranks embedding tables would be placed, and what a training step would cost."""
    with one_line_errors(context.obj):
        from kerasrec.cli.plan import run_plan

        run_plan(schema, ranks, memory, batch_size, optimizer, embedding_dim, bandwidth, wire_dtype)


@app.command()
def export(
    context: typer.Context,
    run: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new folder of the SavedModel.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier SavedModel at OUT.")] = False,
    trust: Trust = None,
) -> None:
    """Export the model of a run as a SavedModel that takes raw rows."""
    with one_line_errors(context.obj):
        from kerasrec.cli.export import run_export

        run_export(run, out, overwrite, trust or [])


@app.command()
def serve(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]MODEL...",
            help="SavedModels that kr.serving.export or kerasrec export wrote, each served under the name of its "
            "folder, or NAME; or one model repository of kr.serving.triton.export.",
        ),
    ],
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Where to listen. 0.0.0.0 lets every machine that reaches this one ask."
        ),
    ] = "127.0.0.1",
    http: Annotated[int, typer.Option("--http-port", min=1, max=65535, help="The port for HTTP.")] = 8000,
    grpc: Annotated[int, typer.Option("--grpc-port", min=1, max=65535, help="The port for gRPC.")] = 8001,
    metrics: Annotated[
        int, typer.Option("--metrics-port", min=1, max=65535, help="The port for Prometheus metrics.")
    ] = 8002,
    max_rows: Annotated[int, typer.Option(min=1, metavar="N", help="The most rows of a request.")] = 65_536,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show everything that Triton logs.")] = False,
) -> None:
    """Serve models with Triton: KServe v2 over HTTP and gRPC, health, metrics.

    A SavedModel that is exported again to the same folder is picked up within a second, and every answer says
    which version gave it. Needs: pip install "kerasrec[serve]".
    """
    with one_line_errors(context.obj):
        from kerasrec.cli.serve import run_serve
        from kerasrec.serving.triton.server import Address

        run_serve(models, Address(host, http, grpc, metrics), max_rows, verbose)


@app.command()
def doctor(context: typer.Context) -> None:
    """Show what is installed, what is missing with the command that installs it, and test two ranks of Horovod."""
    with one_line_errors(context.obj):
        from kerasrec.cli.doctor import run_doctor

        run_doctor()
