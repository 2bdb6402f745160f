"""NVTabular's workflow and a Keras model after it, as Merlin serves them: for `serving.py`, in its environment.

    nvtabular_serving.py ROWS_TO_FIT.parquet WIDTH FOLDER

A worker: fits the workflow of `serving.py`, writes its vocabularies into FOLDER, and says when it is ready; then
answers each line `COUNT` with the milliseconds of one call with the first COUNT rows, a pandas DataFrame: of
`workflow.transform` to a DataFrame of features, and of the model on its columns. The model has the tables and
dense layers of `kr.models.DLRM`, weights that are not trained, and is called as a graph. Merlin's own server does
the same in two models of an ensemble, and sends tensors from one to the other.
"""

import json
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def main(path, width, folder):
    import nvtabular as nvt
    import pandas as pd
    import tensorflow as tf
    from merlin.io import Dataset
    from nvtabular import ops

    frame = pd.read_parquet(path)
    strings = [name for name in frame if name.startswith("string")]
    numbers = [name for name in frame if name.startswith("number")]
    features = strings + ["tags"] >> ops.Categorify(out_path=folder)
    features += numbers >> ops.FillMissing() >> ops.LogOp() >> ops.Normalize()
    workflow = nvt.Workflow(features)
    workflow.fit(Dataset(frame))
    scalars, lists = nvt.ops.get_embedding_sizes(workflow)
    sizes = {name: int(size) for name, (size, _) in {**scalars, **lists}.items()}
    model = dlrm(tf, {name: sizes[name] for name in [*strings, "tags"]}, numbers, width)
    raw = frame.drop(columns="clicked", errors="ignore")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        rows = raw.head(int(line))
        wall, cpu = time.perf_counter(), time.process_time()
        made = workflow.transform(rows)
        between, cpu_between = time.perf_counter(), time.process_time()
        scores = model(tensors(tf, made, strings, numbers)).numpy()
        done, cpu_done = time.perf_counter(), time.process_time()
        assert scores.shape == (len(rows), 1)
        times = {"features": between - wall, "model": done - between, "both": done - wall}
        used = {"features": cpu_between - cpu, "model": cpu_done - cpu_between, "both": cpu_done - cpu}
        parts = {name: {"ms": 1e3 * times[name], "cpu": 1e3 * used[name]} for name in times}
        print(json.dumps(parts), flush=True)


def tensors(tf, made, strings, numbers):
    """The model's inputs from the columns of a frame."""
    inputs = {name: tf.constant(made[name].to_numpy(), tf.int64) for name in strings}
    inputs |= {name: tf.constant(made[name].to_numpy(), tf.float32) for name in numbers}
    lists = made["tags"].to_list()
    inputs["tags"] = tf.RaggedTensor.from_row_lengths(
        tf.constant([tag for tags in lists for tag in tags], tf.int64), [len(tags) for tags in lists]
    )
    return inputs


def dlrm(tf, sizes, numbers, width):
    """DLRM with a table per column, of the sizes that the workflow found."""
    tables = {name: tf.Variable(tf.random.normal([size + 1, width])) for name, size in sizes.items()}
    layers = tf.keras.layers
    bottom = tf.keras.Sequential([layers.Dense(units, "relu") for units in (512, 256, width)])
    top = tf.keras.Sequential([layers.Dense(512, "relu"), layers.Dense(256, "relu"), layers.Dense(1, "sigmoid")])

    @tf.function(reduce_retracing=True)
    def call(inputs):
        dense = bottom(tf.stack([inputs[name] for name in numbers], 1))
        vectors = [dense] + [
            tf.reduce_mean(tf.gather(table, inputs[name]), 1) if name == "tags" else tf.gather(table, inputs[name])
            for name, table in tables.items()
        ]
        stacked = tf.stack(vectors, 1)
        products = tf.matmul(stacked, stacked, transpose_b=True)
        below = tf.constant([[i, j] for i in range(len(vectors)) for j in range(i)])
        pairs = tf.transpose(tf.gather_nd(tf.transpose(products, [1, 2, 0]), below))
        return top(tf.concat([dense, pairs], 1))

    return call


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
