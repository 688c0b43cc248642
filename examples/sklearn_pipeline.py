"""A scikit-learn pipeline whose probabilities are mended inside it.

python examples/sklearn_pipeline.py
"""

import torch
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from calibrant.metrics import functional as metrics
from calibrant.posthoc.sklearn import CalibratedClassifier


def show(name: str, model: ClassifierMixin) -> None:
    """Print how often the predictions are right, and how far confidence is from that."""
    probabilities, target = torch.as_tensor(model.predict_proba(test_x)), torch.as_tensor(test_y)
    accuracy = metrics.accuracy(probabilities, target, inputs="probs")
    ece = metrics.ece(probabilities, target, inputs="probs")
    print(f"{name:<32} accuracy {accuracy:.3f}  ECE {ece:.4f}")


x, y = load_digits(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(x, y, train_size=600, random_state=0, stratify=y)

# Naive Bayes takes features for independent that are not, so it is far too sure of itself.
pipeline = make_pipeline(StandardScaler(), PCA(30), GaussianNB())
show("naive Bayes", pipeline.fit(train_x, train_y))
# The whole pipeline goes in: its steps are fitted anew in each fold, so that no fold sees the others.
for method in ("temperature", "vector", "isotonic"):
    mended = CalibratedClassifier(pipeline, method=method).fit(train_x, train_y)
    show(f"naive Bayes + {method}", mended)
