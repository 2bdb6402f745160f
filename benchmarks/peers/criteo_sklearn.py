"""scikit-learn's logistic regression on the rows, and with the split, of examples/criteo_dlrm.py.

Ids one-hot, those seen fewer than 4 times as one; numbers log(1 + x), standardized. Prints a line of JSON.
"""

import argparse
import csv
import json

import numpy as np
from scipy.sparse import hstack
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", help="a CSV cut from Criteo's log, with a header")
args = parser.parse_args()

with open(args.data, encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
clicked = np.array([int(row["Label"]) for row in rows])
numbers = np.array([[float(row[f"I{i}"] or 0) for i in range(1, 14)] for row in rows])
ids = np.array([[row[f"C{i}"] for i in range(1, 27)] for row in rows], object)
learn, check = len(rows) * 7 // 10, len(rows) * 8 // 10

numbers = np.log1p(np.clip(numbers, 0, None))
scaler = StandardScaler().fit(numbers[:learn])
encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=4).fit(ids[:learn])
x = hstack([encoder.transform(ids), scaler.transform(numbers)]).tocsr()


def predicted(strength, part):
    model = LogisticRegression(C=strength, max_iter=5000).fit(x[:learn], clicked[:learn])
    return model.predict_proba(x[part])[:, 1]


choose, test = slice(learn, check), slice(check, None)
best = min((0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1), key=lambda c: log_loss(clicked[choose], predicted(c, choose)))
predictions = predicted(best, test)
figures = {
    "C": best,
    "auc": roc_auc_score(clicked[test], predictions),
    "log_loss": log_loss(clicked[test], predictions),
}
print(json.dumps(figures))
