"""calibrate and apply, on predictions of scikit-learn: what they print, write and refuse."""

import json

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import save_file
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB

from calibrant.cli import main
from calibrant.posthoc import load_calibrator
from calibrant.predictions import open_predictions
from calibrant.predictions.mended import as_logits


def say(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Naive Bayes on the digits: far too sure. Probabilities in npz, half to fit and half to judge."""
    folder = tmp_path_factory.mktemp("bayes")
    x, y = load_digits(return_X_y=True)
    probs = GaussianNB(var_smoothing=1e-3).fit(x[:400], y[:400]).predict_proba(x[400:])
    names = np.array([f"digit {k}" for k in range(10)])
    np.savez(folder / "val.npz", probs=probs[:700], y_true=y[400:1100], class_names=names)
    np.savez(folder / "test.npz", probs=probs[700:], y_true=y[1100:], class_names=names)
    return folder


def test_a_calibrator_is_fitted_judged_written_and_applied(capsys, files, tmp_path):
    saved, out = tmp_path / "c.safetensors", tmp_path / "mended.npz"
    status, said, err = say(
        capsys, "calibrate", files / "val.npz", "--method", "temperature", "--test", files / "test.npz",
        "--out", saved, "--json",
    )  # fmt: skip
    facts = json.loads(said)
    assert (status, err) == (0, "")
    assert facts["converged"]
    assert facts["measured"] == "test"
    # Naive Bayes gave the right class the probability 0: JSON has no word for an infinite NLL.
    assert facts["before"]["nll"]["value"] is None
    assert facts["after"]["nll"]["value"] < 1
    assert facts["after"]["ece"]["value"] < facts["before"]["ece"]["value"]
    assert facts["change"]["brier"]["p_value"] < 0.01
    assert facts["after"]["accuracy"] == facts["before"]["accuracy"]

    status, said, err = say(capsys, "apply", saved, files / "test.npz", "--out", out)
    assert status == 0
    assert "temperature applied to 697 rows" in said
    mended, given = open_predictions(out), open_predictions(files / "test.npz")
    assert mended.inputs == "probs"
    assert mended.class_names == given.class_names
    calibrator = load_calibrator(saved).calibrator
    expected = calibrator(as_logits(given.read().values, "probs")).softmax(1)
    assert torch.allclose(mended.read().values, expected, atol=1e-12)
    assert torch.equal(mended.read().target, given.read().target)
    after = json.loads(say(capsys, "evaluate", out, "--json")[1])
    assert after["nll"]["value"] == pytest.approx(facts["after"]["nll"]["value"], rel=1e-6)


def test_without_a_test_file_rows_are_judged_that_were_not_seen(capsys, files):
    status, said, _ = say(capsys, "calibrate", files / "val.npz", "--method", "histogram:n_bins=4")
    assert status == 0
    assert "HistogramBinning(classes=10)" in said
    assert "each row mended by a calibrator that was fitted to the other folds" in " ".join(said.split())
    line = next(line for line in said.splitlines() if line.strip().startswith("Brier"))
    before, after = (float(part.split("(")[0]) for part in line.replace("Brier", "").split(")  ")[:2])
    assert after < before


def test_the_method_is_chosen_and_the_reasons_are_shown(capsys, tmp_path):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 2, generator=generator)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    np.savez(tmp_path / "a.npz", logits=4 * logits.numpy(), targets=target.numpy())
    status, said, _ = say(capsys, "calibrate", tmp_path / "a.npz", "--out", tmp_path / "auto.safetensors")
    assert status == 0
    table = [line for line in said.splitlines() if line.endswith("  chosen")]
    assert len(table) == 1
    assert f"{table[0].split()[0]} is lowest" in said
    assert "chosen on these folds too" in said
    status, said, _ = say(
        capsys, "apply", tmp_path / "auto.safetensors", tmp_path / "a.npz", "--out", tmp_path / "b.safetensors"
    )
    assert status == 0
    assert open_predictions(tmp_path / "b.safetensors").inputs == "logits"


def test_predictions_that_cannot_judge_the_calibrator_are_refused(capsys, files, tmp_path):
    with np.load(files / "test.npz") as given:
        np.savez(
            tmp_path / "swapped.npz",
            probs=given["probs"][:, ::-1],
            y_true=9 - given["y_true"],
            class_names=given["class_names"][::-1],
        )
    for test, said in (
        (tmp_path / "swapped.npz", "Class 0 is 'digit 0' in"),
        (files / "val.npz", "to which the calibrator is fitted: leave it out to measure by cross-validation"),
    ):
        status, _, err = say(capsys, "calibrate", files / "val.npz", "--method", "temperature", "--test", test)
        assert status == 2
        assert said in err


def test_counts_of_other_classes_are_refused(capsys, files):
    status, _, err = say(capsys, "calibrate", files / "val.npz", "--class-counts", 1, 2)
    assert (status, "--class-counts lists 2 classes, and" in err) == (2, True)


def test_maps_with_labels_that_do_not_count(capsys, tmp_path):
    generator = np.random.default_rng(0)
    logits = 3 * generator.normal(size=(8, 3, 6, 5)).astype(np.float32)
    target = logits.argmax(1)
    target[generator.random(target.shape) < 0.4] = 0
    target[:, 0] = 255
    np.savez(tmp_path / "maps.npz", logits=logits, labels=target)
    saved, out = tmp_path / "c.safetensors", tmp_path / "out.npz"
    status, said, err = say(
        capsys, "calibrate", tmp_path / "maps.npz", "--method", "vector", "--ignore-index", 255, "--out", saved
    )
    assert (status, "8 maps of 6 x 5" in said, err) == (0, True, "")
    status, said, _ = say(capsys, "apply", saved, tmp_path / "maps.npz", "--ignore-index", 255, "--out", out)
    assert "Labels that do not count are -1 there" in said
    with np.load(out) as arrays:
        assert arrays["logits"].shape == logits.shape
        assert (arrays["targets"][:, 0] == -1).all()


def test_sets_hold_the_label_as_often_as_asked(capsys, files, tmp_path):
    saved, out = tmp_path / "sets.safetensors", tmp_path / "sets.npz"
    status, said, err = say(
        capsys, "calibrate", files / "val.npz", "--method", "conformal:confidence=0.8,score=aps", "--test",
        files / "test.npz", "--out", saved,
    )  # fmt: skip
    assert (status, err) == (0, "")
    coverage = float(said.split("coverage %")[1].split()[0])
    mean_size = float(said.split("mean size")[1].split()[0])
    assert "of 80 asked for" in said
    assert 76 < coverage < 92
    status, said, _ = say(capsys, "apply", saved, files / "test.npz", "--out", out)
    assert "conformal applied to 697 rows" in said
    with np.load(out) as held, np.load(files / "test.npz") as given:
        assert held["sets"].dtype == bool
        assert held["sets"][np.arange(697), given["y_true"]].mean() == pytest.approx(coverage / 100, abs=1e-4)
        assert held["set_sizes"].mean() == pytest.approx(mean_size, abs=1e-3)
        assert np.allclose(held["probs"], given["probs"], atol=1e-9)
    status, said, _ = say(
        capsys, "calibrate", files / "val.npz", "--method", "conformal:confidence=0.7", "--json"
    )
    facts = json.loads(said)
    assert (facts["measured"], facts["confidence"]) == ("cross-validated", 0.7)
    assert facts["coverage"]["low"] < 0.7 < facts["coverage"]["high"]
    assert sum(facts["sizes"]) == 700
    status, said, err = say(capsys, "calibrate", files / "val.npz", "--method", "conformal:alpha=0.1")
    assert (status, said) == (2, "")
    assert "The options of --method 'conformal:alpha=0.1' do not fit" in err


def test_folds_too_small_for_sets_are_said(capsys, tmp_path):
    target = np.arange(12) % 3
    np.savez(tmp_path / "few.npz", logits=np.eye(3)[target], targets=target)
    status, _, err = say(capsys, "calibrate", tmp_path / "few.npz", "--method", "conformal")
    assert status == 2
    assert "measured by are too small (9 rows support no sets of confidence 0.9: give at least 10)" in err


@pytest.mark.parametrize("kind", ["npz", "safetensors", "npy", "folder", "csv", "parquet", "maps"])
def test_apply_takes_predictions_without_labels(capsys, tmp_path, kind):
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(40, 3))
    target = logits.argmax(1)
    target[:15] = 0
    probs = softmax(logits, 1)
    np.savez(tmp_path / "val.npz", probs=probs, targets=target)
    saved, out = tmp_path / "c.safetensors", tmp_path / "out" / "mended.npz"
    assert say(capsys, "calibrate", tmp_path / "val.npz", "--method", "temperature", "--out", saved)[0] == 0
    given = probs[:6]
    if kind == "maps":
        given = given.reshape(2, 3, 3).transpose(0, 2, 1)[..., None]
    status, said, err = say(capsys, "apply", saved, unlabelled(tmp_path / "new", kind, given), "--out", out)
    assert (status, err) == (0, "")
    assert f"applied to {len(given)} {'maps' if kind == 'maps' else 'rows'}" in said
    assert "no labels, as there were none" in said
    calibrator = load_calibrator(saved).calibrator
    expected = calibrator(as_logits(torch.from_numpy(np.ascontiguousarray(given)), "probs")).softmax(1)
    with np.load(out) as held:
        assert set(held) == {"probs", "class_names"}
        assert np.allclose(held["probs"], expected, atol=1e-6)
    status, _, err = say(capsys, "evaluate", out)
    assert (status, "no array of labels" in err) == (2, True)


def unlabelled(folder, kind, probs):
    """Write probabilities without labels, as one kind of file."""
    folder.mkdir()
    if kind in ("npy", "folder"):
        np.save(folder / "probs.npy", probs)
        return folder if kind == "folder" else folder / "probs.npy"
    if kind == "maps":
        for k, values in enumerate(probs):
            np.save(folder / f"{k}.npy", values)
        return folder.rename(folder.with_name("probs"))
    path = folder / f"new.{kind}"
    if kind == "npz":
        np.savez(path, probs=probs)
    elif kind == "safetensors":
        save_file({"probs": torch.from_numpy(probs)}, path)
    else:
        columns = {f"proba_{k}": column for k, column in enumerate(probs.T)}
        if kind == "parquet":
            parquet.write_table(pyarrow.table(columns), path)
        else:
            lines = [",".join(columns), *(",".join(map(repr, map(float, row))) for row in probs)]
            path.write_text("\n".join(lines) + "\n")
    return path


def test_without_labels_values_are_still_looked_at(capsys, tmp_path):
    logits = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(tmp_path / "val.npz", logits=logits, targets=np.arange(40) % 3)
    saved, out = tmp_path / "c.safetensors", tmp_path / "out.npz"
    say(capsys, "calibrate", tmp_path / "val.npz", "--method", "temperature", "--out", saved)
    logits[4, 1] = np.nan
    np.savez(tmp_path / "new.npz", logits=logits)
    status, _, err = say(capsys, "apply", saved, tmp_path / "new.npz", "--ignore-index", 0, "--out", out)
    assert (status, "hold nan, row 4 (the first is 0), class 1" in err) == (2, True)
    np.savez(tmp_path / "new.npz", logits=logits[:, :2])
    status, _, err = say(capsys, "apply", saved, tmp_path / "new.npz", "--out", out)
    assert (status, "was fitted to 3 classes" in err, out.exists()) == (2, True, False)


def test_probabilities_of_class_one_become_logits_of_both():
    assert torch.allclose(as_logits(torch.tensor([[0.2], [0.0]]), "probs")[0].exp(), torch.tensor([0.8, 0.2]))
    assert as_logits(torch.tensor([[0.2], [0.0]]), "probs").isfinite().all()
    assert np.allclose(softmax(as_logits(torch.tensor([[1.5]]), "logits"))[0, 1], 1 / (1 + np.exp(-1.5)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["calibrate"], "calibrant calibrate needs a predictions"),
        (["calibrate", "none.npz"], "There is no file or folder none.npz."),
        (["calibrate", "val.npz", "--method", "temprature"], "did you mean 'temperature'?"),
        (["calibrate", "val.npz", "--method", "histogram:bins=3"], "did you mean 'n_bins'?"),
        (["calibrate", "val.npz", "--method", "histogram:n_bins"], "has no value for 'n_bins'"),
        (["calibrate", "val.npz", "--method", "histogram:n_bins=ten"], "takes a whole number as n_bins, not"),
        (["calibrate", "val.npz", "--method", "histogram:n_bins=[1"], "cannot be read, '[1'"),
        (
            ["calibrate", "val.npz", "--method", "temperature", "--class-counts", "5", "2"],
            "The method 'temperature' takes no --class-counts",
        ),
        (["calibrate", "val.npz", "--method", "temperature", "--out", "."], "is a folder; name a file in it"),
        (["calibrate", "val.npz", "--test", "two.npz", "--method", "platt"], "predictions of 2 classes"),
        (["apply", "val.npz", "test.npz", "--out", "x.npz"], "val.npz is no calibrator, or damaged"),
        (["apply", "c.safetensors", "test.npz"], "calibrant apply needs a out"),
        (["apply", "c.safetensors", "test.npz", "--out", "x.csv"], "written to .npz or .safetensors"),
        (["apply", "c.safetensors", "two.npz", "--out", "x.npz"], "fitted to 10 classes, two.npz holds 2."),
        (["apply", "c.safetensors", "other.npz", "--out", "x.npz"], "class 0 is 'digit 0' there and 'digit 9'"),
        (["apply", "cut.safetensors", "test.npz", "--out", "x.npz"], "is no calibrator, or damaged"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, files, monkeypatch, arguments, said):
    monkeypatch.chdir(files)
    if not (files / "cut.safetensors").exists():
        assert main(["calibrate", "val.npz", "--method", "temperature", "--out", "c.safetensors"]) == 0
        (files / "cut.safetensors").write_bytes((files / "c.safetensors").read_bytes()[:-9])
        with np.load("test.npz") as test:
            names = test["class_names"]
            np.savez("other.npz", probs=test["probs"], y_true=test["y_true"], class_names=names[::-1])
        np.savez("two.npz", probs=np.full((4, 2), 0.5), y_true=np.array([0, 1, 0, 1]))
    capsys.readouterr()
    status, out, err = say(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert said in err
    assert not (files / "x.npz").exists()
