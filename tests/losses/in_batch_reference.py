"""In-batch losses row by row, in NumPy and float64."""

import numpy as np


def in_batch_scores(queries, candidates, ids, other_vectors=(), other_ids=(), remove_accidental_hits=True):
    """Yield for each row the score of its own candidate, and those of its negatives with their ids."""
    vectors = np.concatenate([candidates, *([other_vectors] if len(other_ids) else [])]).astype("float64")
    all_ids = np.concatenate([ids, other_ids]).astype(int)
    for row, query in enumerate(queries.astype("float64")):
        scores = vectors @ query
        others = [
            at
            for at in range(len(all_ids))
            if all_ids[at] >= 0 and at != row and not (remove_accidental_hits and all_ids[at] == ids[row])
        ]
        yield scores[row], scores[others], all_ids[others]


def softmax_losses(rows, ids, temperature=1.0, counts=None, hard_negatives=None):
    """The loss of each row of `in_batch_scores`."""
    log_counts = np.zeros(1000) if counts is None else np.log(np.maximum(counts, 1))
    losses = []
    for id_, (positive, negatives, others) in zip(ids, rows, strict=True):
        own = positive / temperature - log_counts[id_]
        logits = np.sort(negatives / temperature - log_counts[others])[::-1][:hard_negatives]
        losses.append(np.log(np.exp(logits - own).sum() + 1))
    return np.array(losses)
