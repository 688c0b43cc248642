"""A scikit-learn classifier whose probabilities are mended by any calibrator of Calibrant.

Import it by its own name, `from calibrant.posthoc.sklearn import CalibratedClassifier`; it needs scikit-learn.
"""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from calibrant.posthoc.base import LEAST
from calibrant.posthoc.registry import create


class CalibratedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    r"""A classifier whose probabilities are mended by a calibrator fitted to cross-validated predictions.

    The scores of the classifier, its `decision_function` where there is one for each class and else the
    logarithms of `predict_proba`, are predicted for each fold by a classifier fitted to the others; the
    calibrator is fitted to them, and the classifier to all rows. A classifier that is fitted already goes in
    as `sklearn.frozen.FrozenEstimator(classifier)`: then all rows given here fit the calibrator alone.

    Args:
        estimator: classifier; None for logistic regression.
        method: name of a calibrator, `calibrant.posthoc.list_calibrators()`.
        options: arguments of the calibrator by name.
        folds: number of folds; fewer where a class has fewer rows.

    Attributes:
        estimator_: the classifier, fitted.
        calibrator_: the calibrator, fitted.
        classes_: (C,) labels.
        n_features_in_: number of features.

    Raises:
        InputError: an unknown method or option; what the calibrator refuses.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.naive_bayes import GaussianNB
        >>> X, y = load_iris(return_X_y=True)
        >>> mended = CalibratedClassifier(GaussianNB(), method="temperature").fit(X, y)
        >>> bool(mended.calibrator_.temperature_ > 1)
        True
        >>> mended.predict_proba(X[:2]).shape
        (2, 3)
    """

    def __init__(
        self,
        estimator: Any = None,
        method: str = "temperature",
        options: dict[str, Any] | None = None,
        folds: int = 5,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.options = options
        self.folds = folds

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit classifier and calibrator.

        Args:
            X: (n, features).
            y: (n,) labels.
        """
        X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], dtype=None, ensure_all_finite=False)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"Classifier can't train when only one class is present: {self.classes_[0]!r}.")
        estimator = LogisticRegression() if self.estimator is None else self.estimator
        self.estimator_ = clone(estimator)
        if isinstance(estimator, FrozenEstimator):
            index = self._known(np.asarray(y))
            scores = _logits(self.estimator_, X, len(self.classes_))
        else:
            scores = self._cross_validated(estimator, X, index)
            self.estimator_.fit(X, index)
        self.calibrator_ = create(self.method, num_classes=len(self.classes_), **(self.options or {}))
        self.calibrator_.fit(scores, torch.from_numpy(index))
        return self

    def _known(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Take the classes of a fitted classifier, which the rows given here need not all hold."""
        given, self.classes_ = self.classes_, np.asarray(self.estimator_.classes_)
        unknown = np.setdiff1d(given, self.classes_)
        if len(unknown):
            raise ValueError(
                f"The label {unknown[0]!r} is none of the classes of the frozen classifier; leave its rows out."
            )
        order = self.classes_.argsort()
        return order[np.searchsorted(self.classes_, y, sorter=order)]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the (n, C) mended probabilities."""
        check_is_fitted(self)
        X = validate_data(
            self, X, accept_sparse=["csr", "csc"], dtype=None, ensure_all_finite=False, reset=False
        )
        with torch.no_grad():
            mended = self.calibrator_(_logits(self.estimator_, X, len(self.classes_)))
        probabilities: NDArray[np.float64] = mended.softmax(1).numpy()
        return probabilities

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the (n,) labels of the largest mended probabilities."""
        largest = self.predict_proba(X).argmax(1)
        labels: NDArray[Any] = self.classes_[largest]
        return labels

    def _cross_validated(self, estimator: Any, X: Any, index: NDArray[np.int64]) -> Tensor:
        if not isinstance(self.folds, int | np.integer) or self.folds < 2:
            raise ValueError(f"folds must be a whole number of at least 2, not {self.folds!r}.")
        folds = min(self.folds, int(np.bincount(index).min()))
        if folds < 2:
            raise ValueError(
                "A class has a single row, so no fold could be predicted without it; give more rows, or a "
                "fitted classifier as FrozenEstimator. (The least number of rows is 2, found 1 sample.)"
            )
        split = StratifiedKFold(folds, shuffle=True, random_state=0)
        method = _method(estimator)
        said = cross_val_predict(clone(estimator), X, index, cv=split, method=method)
        return _as_logits(said, method)

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn may expect: that of the classifier inside."""
        tags = super().__sklearn_tags__()
        if self.estimator is not None:
            inside = self.estimator.__sklearn_tags__()
            tags.input_tags.sparse = inside.input_tags.sparse
            tags.input_tags.allow_nan = inside.input_tags.allow_nan
        else:
            tags.input_tags.sparse = True
        return tags


class GivenProbabilities(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose features are its probabilities already, for what asks for a fitted classifier.

    Args:
        classes: number of classes.

    Example:
        >>> GivenProbabilities(2).predict([[0.2, 0.8]])
        array([1])
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes

    @property
    def classes_(self) -> NDArray[np.int64]:
        """The labels 0 to C - 1."""
        return np.arange(self.classes)

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Do nothing."""
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the features."""
        return np.asarray(X)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the labels of the largest features."""
        labels: NDArray[np.int64] = np.asarray(X).argmax(1)
        return labels

    def __sklearn_is_fitted__(self) -> bool:
        """Tell that there is nothing to fit."""
        return True


def _method(estimator: Any) -> str:
    # One score a pair of classes says nothing of a class.
    pairs = getattr(estimator, "decision_function_shape", None) == "ovo"
    return "decision_function" if hasattr(estimator, "decision_function") and not pairs else "predict_proba"


def _logits(estimator: Any, X: Any, classes: int) -> Tensor:
    """Return the (n, C) logits of a fitted classifier."""
    method = _method(estimator)
    said = np.asarray(getattr(estimator, method)(X))
    if said.ndim == 2 and said.shape[1] != classes:
        method = "predict_proba"
        said = np.asarray(estimator.predict_proba(X))
    return _as_logits(said, method)


def _as_logits(said: NDArray[Any], method: str) -> Tensor:
    values = torch.from_numpy(np.array(said, dtype=np.float64))
    if method == "predict_proba":
        return values.clamp_min(LEAST).log()
    return torch.stack([torch.zeros_like(values), values], 1) if values.dim() == 1 else values
