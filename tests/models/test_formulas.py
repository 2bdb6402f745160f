"""Each model's output, recomputed from its weights in float64 NumPy."""

import itertools

import keras_rs
import numpy as np
import pytest
from formula_parts import CATS, CONTS, check, continuous, dense, embedded, first_order, logit, spread
from model_cases import schema_of

import kerasrec as kr
from kerasrec.schema import Schema


def test_dlrm():
    model = spread(kr.models.DLRM(schema_of(), 8, [16, 8], [16, 4]))
    d = dense(model.bottom.get_weights(), continuous())
    vectors = [d, *embedded(model.embeddings)]
    dots = [(vectors[i] * vectors[j]).sum(1) for i in range(4) for j in range(i)]
    check(model, logit(model, dense(model.top.get_weights(), np.column_stack([d, *dots]))))


@pytest.mark.parametrize("bias_vector", [True, False])
def test_dlrm_without_continuous_columns(bias_vector):
    model = spread(kr.models.DLRM(schema_of(*CATS), 8, top_units=[16], bias_vector=bias_vector), scale=0.8)
    vectors = embedded(model.embeddings)
    if bias_vector:
        vectors = [np.tile(np.float64(model.bias), (len(vectors[0]), 1)), *vectors]
    dots = [(vectors[i] * vectors[j]).sum(1) for i in range(len(vectors)) for j in range(i)]
    check(model, logit(model, dense(model.top.get_weights(), np.stack(dots, axis=1))))


def test_dlrm_of_continuous_columns_alone_is_its_towers():
    model = spread(kr.models.DLRM(schema_of(*CONTS), 8, [16, 8], [16]))
    d = dense(model.bottom.get_weights(), continuous())
    check(model, logit(model, dense(model.top.get_weights(), d)))


@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("structure", ["parallel", "stacked"])
def test_dcn_with_keras_rs_crosses(rank, structure):
    model = spread(kr.models.DCN(schema_of(), 4, 2, rank, [16, 8], structure), scale=0.4)
    x0 = x = np.column_stack([continuous(), *embedded(model.embeddings)])
    for ours in model.crosses:
        theirs = keras_rs.layers.FeatureCross(rank, dtype="float64")
        theirs(x0, x)
        theirs.set_weights(ours.get_weights())
        x = theirs(x0, x).numpy()
    deep = dense(model.deep.get_weights(), x0 if structure == "parallel" else x)
    check(model, logit(model, np.column_stack([x, deep]) if structure == "parallel" else deep))


def test_deepfm():
    model = spread(kr.models.DeepFM(schema_of(), 4, [16, 8]))
    vectors, x = embedded(model.embeddings), continuous()
    scaled = np.float64(model.continuous_vectors.vectors)
    fields = [*vectors, *(x[:, [j]] * scaled[j] for j in range(2))]
    pairs = sum((a * b).sum(1, keepdims=True) for a, b in itertools.combinations(fields, 2))
    deep = logit(model, dense(model.deep.get_weights(), np.column_stack([x, *vectors])))
    check(model, first_order(model.first_order) + pairs + deep)


def test_wide_and_deep():
    model = spread(kr.models.WideAndDeep(schema_of(), None, [16, 8]))
    assert [v.shape[1] for v in embedded(model.embeddings)] == [8, 8, 8]
    deep = logit(
        model, dense(model.deep.get_weights(), np.column_stack([continuous(), *embedded(model.embeddings)]))
    )
    check(model, first_order(model.wide) + deep)


def test_dlrm_widths_that_do_not_fit():
    with pytest.raises(ValueError, match=r"bottom_units must end in embedding_dim, 8, .* it is \[16, 4\]"):
        kr.models.DLRM(schema_of(), 8, [16, 4])
    with pytest.raises(ValueError, match=r"bottom_units must be an integer or a list of integers >= 1; got \[\]"):
        kr.models.DLRM(schema_of(), 8, [])
    with pytest.raises(ValueError, match="needs a categorical column and another"):
        kr.models.DLRM(schema_of("user"), 8, bias_vector=False)
    assert kr.models.DLRM(schema_of(), 24).bottom.units == (64, 24)


def test_dcn_arguments():
    with pytest.raises(ValueError, match="structure must be 'parallel' or 'stacked'; got 'serial'"):
        kr.models.DCN(schema_of(), structure="serial")
    with pytest.raises(ValueError, match="cross_layers must be an integer >= 1; got 0"):
        kr.models.DCN(schema_of(), cross_layers=0)


def test_a_dict_of_a_schema_is_a_schema():
    model = kr.models.DCN(schema_of().to_dict(), deep_units=[4])
    assert isinstance(model.schema, Schema)
    assert model.schema == schema_of()
