"""Training and judging: logistic regression by scikit-learn, on the data sets that it brings along.

scikit-learn is imported at its first use: that takes a second or two, which starting must not.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from messaging import PermanentError

DATASETS = ("breast_cancer", "iris", "wine")
MOST_ITERATIONS = 400


class UnknownDataset(PermanentError):
    """There is no such data set, and none will appear."""


@dataclass(frozen=True)
class Trained:
    weights: dict[str, Any]
    examples: int
    iterations: int
    library: str


def train(dataset: str, *, strength: float, seed: int) -> Trained:
    """Fit a classifier to two thirds of a data set. The same arguments give the same model.

    Raises:
        UnknownDataset: never succeeds.
    """
    import sklearn
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features, _, labels, _ = _split(dataset, seed)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=strength, max_iter=MOST_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)  # a model that did not converge is none
        model.fit(scaler.transform(features), labels)
    weights = {
        "mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist(), "classes": model.classes_.tolist(),
        "coefficients": model.coef_.tolist(), "intercept": model.intercept_.tolist(),
    }  # fmt: skip
    return Trained(
        weights=weights,
        examples=len(labels),
        iterations=int(max(model.n_iter_)),
        library=f"sklearn {sklearn.__version__}",
    )


def accuracy(weights: dict[str, Any], *, dataset: str, seed: int) -> float:
    """Return the share of the third that was held back which the model gets right."""
    import numpy as np
    from sklearn.metrics import accuracy_score

    _, features, _, labels = _split(dataset, seed)
    scaled = (features - np.array(weights["mean"])) / np.array(weights["scale"])
    scores = scaled @ np.array(weights["coefficients"]).T + np.array(weights["intercept"])
    classes = np.array(weights["classes"])
    chosen = classes[scores.argmax(axis=1)] if len(classes) > 2 else classes[(scores[:, 0] > 0).astype(int)]
    return float(accuracy_score(labels, chosen))


def _split(dataset: str, seed: int) -> Any:
    if dataset not in DATASETS:
        raise UnknownDataset(f"There is no data set {dataset!r}; there are {', '.join(DATASETS)}.")
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    features, labels = getattr(datasets, f"load_{dataset}")(return_X_y=True)
    return train_test_split(features, labels, test_size=1 / 3, random_state=seed, stratify=labels)
