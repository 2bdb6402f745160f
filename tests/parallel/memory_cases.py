"""How far each rank's memory rises while a large table is made, trained, saved, restored and exported; run by
`test_large_tables.py` under horovodrun."""

import sys
from pathlib import Path

import keras
import numpy as np

import kerasrec as kr
from kerasrec.parallel import comm

WIDTH = 32


def status(which):
    """Of this process, MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[which].split()[0]) / 1024


def rises(step):
    """How far the peak is above what was held before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    result = step()
    return status("VmHWM") - before, result


def model_of(rows):
    table = kr.TableConfig("item", rows, WIDTH, placement="row_wise")
    features = {"item": kr.FeatureConfig("item", table)}
    ids = {"item": keras.Input((), dtype="int64", name="item")}
    plan = kr.parallel.plan_from_placements(features, comm.size())
    vectors = kr.layers.DistributedEmbedding(features, plan=plan)(ids)
    model = kr.parallel.Model(ids, keras.layers.Dense(1)(vectors["item"]))
    model.compile(kr.optimizers.RowwiseAdagrad(0.1), loss="mse")
    return model


def run(rows, folder):
    rise, model = rises(lambda: model_of(rows))
    yield "build", rise
    data = {"item": np.arange(1000)}, np.ones((1000, 1))
    yield "fit", rises(lambda: model.fit(*data, batch_size=500, verbose=0))[0]
    yield "save", rises(lambda: kr.parallel.save(model, folder / "saved"))[0]
    yield "restore", rises(lambda: kr.parallel.restore(model, folder / "saved"))[0]
    yield "export", rises(lambda: kr.serving.export(model, folder / "served"))[0]


if __name__ == "__main__":
    folder, rows = Path(sys.argv[1]), int(sys.argv[2])
    list(run(1000, folder / "small"))
    for step, rise in run(rows, folder / "large"):
        print(f"rise {step} {comm.rank()} {rise:.0f}", flush=True)
        comm.barrier()
