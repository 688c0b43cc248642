"""Calibrators inside scikit-learn: its own checks, and the gain on classifiers that are too sure."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import check_estimator

from calibrant.errors import InputError
from calibrant.posthoc.sklearn import CalibratedClassifier

X, Y = load_digits(return_X_y=True)
NAMES = np.array([f"digit {k}" for k in range(10)])


def test_checks_of_scikit_learn() -> None:
    check_estimator(CalibratedClassifier(LogisticRegression(), folds=3))


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic", "beta"])
def test_naive_bayes_is_mended(method: str) -> None:
    train, test = slice(0, 900), slice(900, None)
    alone = GaussianNB(var_smoothing=1e-3).fit(X[train], NAMES[Y[train]])
    mended = CalibratedClassifier(alone, method=method).fit(X[train], NAMES[Y[train]])
    before = log_loss(NAMES[Y[test]], alone.predict_proba(X[test]))
    after = log_loss(NAMES[Y[test]], mended.predict_proba(X[test]))
    assert after < 0.7 * before
    assert set(mended.predict(X[test])) <= set(NAMES)


def test_a_fitted_classifier_stays_as_it_is() -> None:
    fitted = GaussianNB().fit(X[:500], Y[:500])
    mended = CalibratedClassifier(FrozenEstimator(fitted)).fit(X[500:900], Y[500:900])
    assert (mended.predict(X[900:]) == fitted.predict(X[900:])).all()
    assert np.abs(mended.predict_proba(X[900:]) - fitted.predict_proba(X[900:])).max() > 0.01


@pytest.mark.parametrize("classifier", [LinearSVC(), SVC(kernel="linear")])
@pytest.mark.parametrize("classes", [2, 4])
def test_scores_become_probabilities(classifier: LinearSVC | SVC, classes: int) -> None:
    kept = classes > Y
    x, y = X[kept][:, 20:30], Y[kept]
    p = CalibratedClassifier(classifier, method="platt").fit(x[:200], y[:200]).predict_proba(x[200:])
    assert np.allclose(p.sum(1), 1)
    assert log_loss(y[200:], p) < log_loss(y[200:], np.full_like(p, 1 / classes))


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(InputError, match="did you mean 'vector'"):
        CalibratedClassifier(GaussianNB(), method="vektor").fit(X, Y)
    with pytest.raises(ValueError, match="A class has a single row"):
        CalibratedClassifier(GaussianNB()).fit(X[:3], [0, 1, 1])


def test_a_frozen_classifier_keeps_its_classes_where_the_rows_lack_one():
    fitted = GaussianNB().fit(X[:500], Y[:500])
    kept = np.flatnonzero(Y[500:900] != 3) + 500
    mended = CalibratedClassifier(FrozenEstimator(fitted)).fit(X[kept], Y[kept])
    assert (mended.classes_ == fitted.classes_).all()
    assert (mended.predict(X[900:]) == fitted.predict(X[900:])).all()
    few = GaussianNB().fit(X[:500][Y[:500] < 5], Y[:500][Y[:500] < 5])
    with pytest.raises(ValueError, match="none of the classes of the frozen classifier"):
        CalibratedClassifier(FrozenEstimator(few)).fit(X[500:900], Y[500:900])


def test_scores_of_pairs_of_classes_are_not_taken_for_those_of_classes():
    chosen = np.flatnonzero(Y < 3)
    pairs = SVC(decision_function_shape="ovo", probability=True, random_state=0)
    mended = CalibratedClassifier(pairs, folds=3).fit(X[chosen], Y[chosen])
    assert mended.score(X[chosen], Y[chosen]) > 0.9
