"""A running Triton with a model of clicks and an index, and how to ask it."""

import json
import sys
import urllib.error
import urllib.request

import numpy as np
import polars as pl

import kerasrec as kr
from kerasrec import etl
from kerasrec.serving.triton.installation import Installation, NotInstalledError

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/retrieval")
from small_retriever import SmallRetriever, fitted, raw_pairs

MAX_ROWS = 1000


def missing():
    """Return why there is no Triton here, or nothing."""
    try:
        Installation.find()
    except NotInstalledError as error:
        return str(error)
    return ""


RAW = pl.DataFrame(
    {
        "user": [f"u{i % 7}" for i in range(60)],
        "item id": [i % 9 for i in range(60)],
        "tags": [["a", "b", "größe"][: i % 4] for i in range(60)],
        "price": [None if i % 9 == 0 else float(i) for i in range(60)],
        "clicked": [i % 2 for i in range(60)],
    }
)
ROWS = RAW.drop("clicked").to_dicts()


def export_clicks(path):
    """Write two versions of one model, `served` and `other`, and one of other inputs, `wider`."""
    for name, seed, users in (("served", 0, ["user"]), ("other", 1, ["user"]), ("wider", 0, ["user", "user 2"])):
        raw = RAW.with_columns(pl.col("user").alias("user 2"))
        cats = [*users, "item id", "tags"] >> etl.Categorify()
        conts = ["price"] >> etl.FillMissing() >> etl.Normalize()
        workflow = etl.Workflow(cats + conts + (["clicked"] >> etl.Target())).fit(raw)
        model = kr.models.WideAndDeep(
            workflow.output_schema, embedding_dim=4, deep_units=[8], seed=seed, embeddings_initializer="normal"
        )
        kr.serving.export(model, path / name, workflow=workflow)
    return path


def export_items(path):
    """Write an index."""
    raw = raw_pairs()
    workflow = fitted(raw)
    rows = workflow.transform(raw).collect()
    items = rows.unique("item", maintain_order=True).select("item", "price")
    index = kr.retrieval.Index(SmallRetriever(workflow.output_schema), items)
    return kr.serving.export(index, path, workflow=workflow)


def post(server, path, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.address.url}/v2/models/{path}", data)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def predictions(server, rows):
    status, answer = post(server, "clicks/generate", {"rows": json.dumps(rows)})
    assert status == 200, answer
    return np.ravel(answer["clicked"]).astype("float32"), answer["version"]


def expected(folder, rows):
    return kr.serving.load(folder).predict(rows)["clicked"].ravel()


def columns_of(wire):
    """The inputs of KServe's JSON for the arrays of `kr.serving.rows`."""
    kinds = {"object": "BYTES", "int64": "INT64", "float64": "FP64", "bool": "BOOL", "int32": "INT32"}
    return [
        {
            "name": name,
            "shape": [1, len(array)],
            "datatype": kinds[array.dtype.name],
            "data": [value.decode() if isinstance(value, bytes) else value for value in array.tolist()],
        }
        for name, array in wire.items()
    ]


def metrics(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.address.metrics}/metrics") as response:
        return response.read().decode()
