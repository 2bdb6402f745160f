"""Measure how much memory training takes beyond the tables and the optimizer's state.

    python benchmarks/memory.py [--table-gib 2] [--optimizer Adagrad] [--tables 4] [--width 32]

Builds a model whose tables take that much in total, trains some steps, saves the tables with `kr.save_tables`,
trains on and restores them with `kr.restore_tables`, in a process of its own, and reads the peak resident memory
of each stage (VmHWM of /proc, reset after each stage; Linux only). The same with tables of a few rows gives the
memory of the framework. What is left beyond tables and state is the excess; the bar is 0.5 GiB in the worst
stage.

What is saved is as large as tables and state together; `--folder` says where to write it during the run (default:
the system's temporary folder). Pages of files in the kernel's cache are not the process's memory; mapped pages
count while they are mapped.

The table is followed by one line of JSON: {"excess_gib": number, "bar_gib": 0.5, "stages": {stage: {...}}, ...}.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

BAR_GIB = 0.5
TINY_ROWS = 8_192  # what a batch touches must exist in the tiny tables too
STAGES = ("import", "build", "train", "save", "restore")


def peak_gib():
    """The most resident memory held since the last call."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM = VmRSS, see proc(5)
    return peak


def worker(args, rows, folder):
    """One life of a model. Prints one line of JSON: each stage's peak, and the bytes of tables and state."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import numpy as np

    import kerasrec as kr

    peaks = {}

    def stage(name):
        peaks[name] = peak_gib()

    keras.ops.zeros(1)  # TensorFlow starts here
    stage("import")
    names = [f"c{index}" for index in range(args.tables)]
    ids = {name: keras.Input((), dtype="int64", name=name) for name in names}
    layer = kr.layers.DistributedEmbedding(
        {name: kr.FeatureConfig(name, kr.TableConfig(name, rows, args.width)) for name in names}
    )
    vectors = layer(ids)
    top = kr.layers.MLP([64])(keras.layers.Concatenate()([vectors[name] for name in names]))
    model = keras.Model(ids, keras.layers.Dense(1, activation="sigmoid")(top))
    optimizer = getattr(kr.optimizers, args.optimizer)()
    model.compile(optimizer, loss="binary_crossentropy")
    optimizer.build(model.trainable_variables)
    stage("build")
    rng = np.random.default_rng(0)
    size = args.batch * args.steps
    data = {name: rng.integers(0, rows, size) for name in names}
    target = rng.integers(0, 2, size).astype("float32")
    model.fit(data, target, batch_size=args.batch, verbose=0)
    stage("train")
    path = Path(folder) / "tables"
    look_up = keras.Model(ids, vectors)
    batch = {name: column[: args.batch] for name, column in data.items()}
    saved = look_up.predict(batch, verbose=0)
    kr.save_tables(model, path)
    stage("save")
    model.fit(data, target, batch_size=args.batch, verbose=0)
    trained = look_up.predict(batch, verbose=0)
    kr.restore_tables(model, path)
    stage("restore")
    restored = look_up.predict(batch, verbose=0)
    for name in names:
        np.testing.assert_array_equal(restored[name], saved[name])
        assert (trained[name] != saved[name]).any()
    variables = {id(variable): variable for variable in [*model.variables, *optimizer.variables]}
    count = sum(int(np.prod(variable.shape)) * 4 for variable in variables.values())
    print(json.dumps({"peaks": peaks, "variables_gib": count / 2**30}))


def life(args, rows):
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        keys = ("tables", "width", "optimizer", "batch", "steps")
        options = [str(item) for key in keys for item in (f"--{key}", getattr(args, key))]
        command = [sys.executable, __file__, "--worker", str(rows), "--folder", folder, *options]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{rows} rows: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table-gib", type=float, default=2.0, help="of all tables together")
    parser.add_argument("--tables", type=int, default=4)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--optimizer", default="Adagrad", help="one of kr.optimizers")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where the tables are saved")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)  # rows a table
    args = parser.parse_args()
    if args.worker:
        worker(args, args.worker, args.folder)
        return

    from rich.console import Console
    from rich.table import Table

    rows = int(args.table_gib * 2**30 / (args.tables * args.width * 4))
    tiny, large = life(args, TINY_ROWS), life(args, rows)
    stages = {}
    for stage in STAGES:
        table_gib = 0.0 if stage == "import" else large["variables_gib"] - tiny["variables_gib"]
        peak, framework = large["peaks"][stage], tiny["peaks"][stage]
        stages[stage] = {"peak_gib": peak, "framework_gib": framework, "excess_gib": peak - framework - table_gib}
    title = (
        f"{args.tables} tables x {rows:,} x {args.width}, {args.optimizer}: "
        f"tables and state {large['variables_gib']:.2f} GiB"
    )
    table = Table("while", "peak GiB", "framework GiB", "excess GiB", title=title)
    for stage, figures in stages.items():
        table.add_row(stage, *(f"{figure:.3f}" for figure in figures.values()))
    Console().print(table)
    excess = max(figures["excess_gib"] for figures in stages.values())
    own = {key: getattr(args, key) for key in ("table_gib", "tables", "width", "optimizer", "batch", "steps")}
    figures = {"excess_gib": excess, "bar_gib": BAR_GIB, "variables_gib": large["variables_gib"], "stages": stages}
    print(json.dumps({"benchmark": "memory", **own, **figures}))


if __name__ == "__main__":
    main()
