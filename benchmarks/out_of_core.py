"""Fit and transform Parquet data that is several times larger than the memory of the process.

    python benchmarks/out_of_core.py [--gib 6] [--limit-gib 2] [--values 100000]

Writes that many GiB of Criteo-like rows (peers/criteo_like.py), fits and transforms them as `etl.py` does, in a
process of its own, and measures its time and its own memory (RssAnon of /proc, read every 20 ms; Linux only). To
write large data quickly, a few files are made and copied. No column has more than `--values` distinct values,
because vocabularies are in memory: the memory needed is that of the vocabularies and of the row groups being
read, whatever the number of rows.

The kernel enforces the limit if this user may create a memory control group: the process is then killed if it
takes more, including pages of files that it reads and writes. Otherwise the run fails if the process's own memory
exceeds the limit. All files are removed at the end.

The table is followed by one line of JSON: {"peak_gib": number, "limit_gib": number, "enforced": bool, ...}.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from peers import criteo_like
from peers.criteo_like import INTEGERS, STRINGS

DISTINCT = 8  # files that are made; the others are copies
FILE_ROWS = 500_000
GROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
)


class Watch:
    """The most memory of its own that a process was seen with, since the last look."""

    def __init__(self, process="self"):
        self.status, self.peak = Path(f"/proc/{process}/status"), 0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self):
        with suppress(OSError):  # until it has ended
            while "RssAnon:" in (status := self.status.read_text()):
                self.peak = max(self.peak, int(status.partition("RssAnon:")[2].split()[0]))
                time.sleep(0.02)

    def gib(self):
        peak, self.peak = self.peak, 0
        return peak / 2**20


def worker(folder, output):
    from kerasrec import etl

    watch = Watch()
    integers = INTEGERS >> etl.FillMissing() >> etl.Clip(min=0) >> etl.LogOp() >> etl.Normalize()
    workflow = etl.Workflow((STRINGS >> etl.Categorify()) + integers + (["label"] >> etl.Target()))
    files = sorted(folder.glob("*.parquet"))
    time.sleep(0.1)
    stages = {"import": {"s": 0.0, "peak_gib": watch.gib()}}
    start = time.perf_counter()
    workflow.fit(files, progress=False)
    stages["fit"] = {"s": time.perf_counter() - start, "peak_gib": watch.gib()}
    start = time.perf_counter()
    workflow.transform(files).to_parquet(output, progress=False)
    stages["transform"] = {"s": time.perf_counter() - start, "peak_gib": watch.gib()}
    values = sum(column.cardinality or 0 for column in workflow.output_schema)
    print(json.dumps({"stages": stages, "vocabulary": values}))


@contextmanager
def control_group(limit):
    """The file to join a control group of at most `limit` bytes by; None where none can be made."""
    for root, name in GROUPS:
        group = root / f"kerasrec-{os.getpid()}"
        try:
            if not (root / ("cgroup.controllers" if name == "memory.max" else name)).exists():
                continue
            group.mkdir()
        except OSError:
            continue
        try:
            try:
                (group / name).write_text(str(limit))
            except OSError:
                continue
            yield group / "cgroup.procs"
            return
        finally:
            with suppress(OSError):
                group.rmdir()
    yield None


def write(folder, gib, values):
    """Returns the number of rows."""
    distinct_files = criteo_like.write(folder, DISTINCT * FILE_ROWS, DISTINCT, values)
    size = sum(path.stat().st_size for path in distinct_files) / DISTINCT
    count = max(DISTINCT, round(gib * 2**30 / size))
    for index in range(DISTINCT, count):
        shutil.copyfile(distinct_files[index % DISTINCT], folder / f"raw-{index:04d}.parquet")
    return count * FILE_ROWS


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gib", type=float, default=6.0, help="of Parquet, compressed")
    parser.add_argument("--limit-gib", type=float, default=2.0)
    parser.add_argument("--values", type=int, default=100_000, help="distinct values of a column, at most")
    parser.add_argument("--folder", type=Path, help="where files are written for the time of the run")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(*map(Path, args.worker))
        return

    from rich.console import Console
    from rich.table import Table

    with (
        tempfile.TemporaryDirectory(dir=args.folder) as folder,
        control_group(int(args.limit_gib * 2**30)) as group,
    ):
        folder = Path(folder)
        rows = write(folder / "raw", args.gib, args.values)
        size = sum(path.stat().st_size for path in (folder / "raw").iterdir()) / 2**30
        command = [sys.executable, __file__, "--worker", str(folder / "raw"), str(folder / "out")]
        if group:  # a shell joins the group and becomes the worker
            command = ["sh", "-c", f'echo $$ > {group} && exec "$@"', "sh", *command]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        done = subprocess.Popen(command, env=environment, text=True, **pipes)
        watch = Watch(done.pid)  # tells how far it came if it is killed
        output, errors = done.communicate()
        if done.returncode:
            killed = f"killed: it took more than the limit; {watch.gib():.2f} GiB of its own were seen"
            why = killed if done.returncode == -9 else errors[-3000:]
            raise SystemExit(f"{size:.2f} GiB under {args.limit_gib} GiB: {why}")
        written = sum(path.stat().st_size for path in (folder / "out").iterdir()) / 2**30
    figures = json.loads(output.splitlines()[-1])
    peak = max(stage["peak_gib"] for stage in figures["stages"].values())
    title = f"{size:.2f} GiB, {rows:,} rows, vocabularies of {figures['vocabulary']:,}; limit {args.limit_gib} GiB"
    table = Table("while", "s", "own memory, peak GiB", title=title)
    for stage, one in figures["stages"].items():
        table.add_row(stage, f"{one['s']:.1f}", f"{one['peak_gib']:.3f}")
    Console().print(table)
    sizes = {"raw_gib": size, "written_gib": written, "rows": rows, "limit_gib": args.limit_gib}
    result = {"benchmark": "out_of_core", **sizes, "enforced": group is not None, "peak_gib": peak, **figures}
    print(json.dumps(result))
    if peak > args.limit_gib:
        raise SystemExit(f"took {peak:.2f} GiB, more than {args.limit_gib}")


if __name__ == "__main__":
    main()
