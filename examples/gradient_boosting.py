"""A model that is no network: the predictions of gradient boosting in files, judged and mended by the command.

The predictions of XGBoost, LightGBM or anything else with probabilities go the same way.

    python examples/gradient_boosting.py
"""

import json
import tempfile
from contextlib import chdir, redirect_stdout
from io import StringIO

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split

from calibrant.cli import main


def command(*words: str) -> str:
    """Run a command as a shell would, and return what it prints."""
    print("$ calibrant", *words)
    with redirect_stdout(StringIO()) as printed:
        status = main(words)
    if status:
        raise SystemExit(status)
    return printed.getvalue()


def write(path: str, probabilities: np.ndarray, labels: np.ndarray) -> None:
    """Write a CSV file, a column for each class and one for the labels: `proba_0`, …, `label`."""
    columns = [f"proba_{k}" for k in range(probabilities.shape[1])] + ["label"]
    table = np.column_stack([probabilities, labels])
    np.savetxt(path, table, delimiter=",", header=",".join(columns), comments="", fmt="%.9g")


x, y = load_digits(return_X_y=True)
train_x, rest_x, train_y, rest_y = train_test_split(x, y, train_size=300, random_state=0, stratify=y)
val_x, test_x, val_y, test_y = train_test_split(rest_x, rest_y, train_size=400, random_state=0)
model = HistGradientBoostingClassifier(learning_rate=0.3, max_iter=20, random_state=0).fit(train_x, train_y)

with tempfile.TemporaryDirectory() as folder, chdir(folder):
    write("val.csv", model.predict_proba(val_x), val_y)
    write("test.csv", model.predict_proba(test_x), test_y)
    print(command("evaluate", "test.csv"))
    command("calibrate", "val.csv", "--method", "temperature", "--out", "calibrator.safetensors")
    command("apply", "calibrator.safetensors", "test.csv", "--out", "mended.npz")
    for name, path in (("boosting", "test.csv"), ("boosting + temperature", "mended.npz")):
        found = json.loads(command("evaluate", path, "--json"))
        accuracy, ece = found["accuracy"]["value"], found["ece"]["value"]
        print(f"{name:<32} accuracy {accuracy:.3f}  ECE {ece:.4f}")
