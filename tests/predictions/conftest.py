"""Predictions that no code of Calibrant made: scikit-learn classifiers on its own data sets."""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Said(NamedTuple):
    """What a classifier says: (N, C) scores and probabilities, (N,) labels."""

    logits: NDArray[np.float64]
    probs: NDArray[np.float64]
    target: NDArray[np.int64]


@pytest.fixture(scope="session")
def digits() -> Said:
    """Ten classes: logistic regression, fitted on a tenth of the digits."""
    x, y = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(x[:180], y[:180])
    return Said(model.decision_function(x[180:]), model.predict_proba(x[180:]), y[180:])


@pytest.fixture(scope="session")
def bayes() -> Said:
    """The same digits by naive Bayes, which is over-confident."""
    x, y = load_digits(return_X_y=True)
    model = GaussianNB(var_smoothing=1e-2).fit(x[:180], y[:180])
    return Said(model.predict_joint_log_proba(x[180:]), model.predict_proba(x[180:]), y[180:])


@pytest.fixture(scope="session")
def cancer() -> Said:
    """Two classes: logistic regression on breast cancer; its scores are those of class 1 alone."""
    x, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:100], y[:100])
    return Said(model.decision_function(x[100:]), model.predict_proba(x[100:]), y[100:])
