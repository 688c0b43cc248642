"""`calibrant evaluate`, in this process: what it prints and returns, and one sentence for each bad file."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file
from sklearn.metrics import log_loss

from calibrant.cli import main
from calibrant.metrics import evaluate
from tests.predictions.conftest import Said, bayes, cancer, digits
from tests.predictions.test_readers import columns_of, write_csv

__all__ = ["bayes", "cancer", "digits"]

METRICS = ("accuracy", "ece", "aece", "classwise_ece", "mce", "nll", "brier", "smooth_ece")


def say(capsys, *arguments: str) -> tuple[int, str, str]:
    status = main(["evaluate", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_json_holds_every_metric_of_what_was_read(capsys, digits: Said, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "digits.csv", columns_of(digits))
    status, out, err = say(capsys, path, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    expected = evaluate(torch.tensor(digits.probs), torch.tensor(digits.target), inputs="probs")
    for name in METRICS:
        assert set(found[name]) == {"value", "low", "high"}
        assert found[name]["value"] == pytest.approx(expected[name].value)
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    assert found["nll"]["value"] == pytest.approx(log_loss(digits.target, digits.probs))
    assert (found["rows"], found["classes"], found["inputs"]) == (len(digits.target), 10, "probs")
    parts = found["brier_decomposition"]
    whole = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bins"]
    assert whole == pytest.approx(found["brier"]["value"])
    assert 0 < found["calibration_test"]["ece"]["p_value"] <= 1
    assert sum(each["count"] for each in found["bins"]) == found["rows"]


def test_the_table_shows_values_intervals_parts_and_words(capsys, cancer: Said, tmp_path: Path) -> None:
    np.savez(tmp_path / "cancer.npz", logits=cancer.logits, target=cancer.target)
    status, out, err = say(capsys, tmp_path / "cancer.npz")
    assert (status, err) == (0, "")
    flat = " ".join(out.replace("\xa0", " ").split())
    assert "469 rows, 2 classes, read as logits." in flat
    for words in (
        "accuracy % 94.67 (92.25 to 96.36)",
        "class-wise ECE %",
        "− resolution",
        "calibrated? p of the ECE 0.43",
        "On balance neither: on average it says 93.4 % and is right 94.7 % of the time",
        "The probability of class 1 is off by 6.5 %",
    ):
        assert words in flat
    assert max(map(len, out.splitlines())) <= 120


def test_files_stand_side_by_side_and_are_tested_in_pairs(
    capsys, digits: Said, bayes: Said, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", probs=digits.probs, y=digits.target)
    np.savez(tmp_path / "b.npz", logits=bayes.logits, y=bayes.target)
    np.savez(tmp_path / "c.npz", probs=digits.probs[5:], y=digits.target[5:])
    paths = [tmp_path / f"{name}.npz" for name in "abc"]
    status, out, _ = say(capsys, *paths)
    assert status == 0
    flat = " ".join(out.split())
    assert "a.npz b.npz c.npz" in flat
    assert "less a.npz b.npz" in flat
    assert "p 0.0005" in flat
    assert "c.npz: the labels are not those of" in flat
    status, out, _ = say(capsys, *paths, "--json")
    found = json.loads(out)
    assert [each["inputs"] for each in found["files"]] == ["probs", "logits", "probs"]
    ((pair),) = found["paired"]
    assert (pair["file"], pair["less"]) == (str(paths[1]), str(paths[0]))
    difference = found["files"][1]["ece"]["value"] - found["files"][0]["ece"]["value"]
    assert pair["metrics"]["ece"]["difference"] == pytest.approx(difference)


@pytest.mark.parametrize(
    ("bounds", "status", "said"),
    [
        (["ece=0.05", "nll=1"], 0, []),
        (["ece=0.01", "nll=1"], 1, ["ece of"]),
        (["ece=0.01", "nll=0.1"], 1, ["ece of", "nll of"]),
    ],
)
def test_a_broken_bound_is_status_1_and_a_sentence(
    capsys, bounds: list[str], status: int, said: list[str], digits: Said, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", probs=digits.probs, y=digits.target)
    flags = [word for bound in bounds for word in ("--fail-above", bound)]
    found, out, err = say(capsys, tmp_path / "a.npz", "--json", *flags)
    assert found == status
    assert json.loads(out)["rows"] == len(digits.target)
    lines = err.splitlines()
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert words in line
        assert "above the bound of" in line


def test_the_page_is_written_and_holds_all(capsys, digits: Said, bayes: Said, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", probs=digits.probs, y=digits.target)
    np.savez(tmp_path / "b.npz", logits=bayes.logits, y=bayes.target)
    page = tmp_path / "page.html"
    status, out, _ = say(capsys, tmp_path / "a.npz", tmp_path / "b.npz", "--out", page)
    assert status == 0
    assert "page.html" in out
    html = page.read_text()
    assert html.count("<article") == 2
    assert "on the same labels" in html
    assert say(capsys, tmp_path / "a.npz", "--out", page)[0] == 0
    assert "Can " in page.read_text()


def bad_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path / "a.npz", **arrays)
    return path / "a.npz"


def bad_text(path: Path, text: str, name: str = "a.csv") -> Path:
    (path / name).write_text(text)
    return path / name


def truncated_npz(path: Path) -> Path:
    whole = bad_npz(path, probs=np.full((500, 2), 0.5), y=np.zeros(500))
    whole.write_bytes(whole.read_bytes()[:-2000])
    return whole


def damaged_npz(path: Path) -> Path:
    np.savez_compressed(
        path / "a.npz", probs=np.random.default_rng(0).dirichlet([1, 1], 500), y=np.arange(500) % 2
    )
    data = bytearray((path / "a.npz").read_bytes())
    data[1000:1100] = bytes(100)
    (path / "a.npz").write_bytes(data)
    return path / "a.npz"


def truncated_npy(path: Path) -> Path:
    np.save(path / "probs.npy", np.full((500, 2), 0.5))
    np.save(path / "y.npy", np.zeros(500, dtype=int))
    (path / "probs.npy").write_bytes((path / "probs.npy").read_bytes()[:4000])
    return path


def truncated_safetensors(path: Path) -> Path:
    save_file({"logits": torch.zeros(50, 2), "y": torch.zeros(50)}, path / "a.safetensors")
    (path / "a.safetensors").write_bytes((path / "a.safetensors").read_bytes()[:-10])
    return path / "a.safetensors"


def parquet_of(path: Path, **columns: object) -> Path:
    parquet.write_table(pa.table(columns), path / "a.parquet")
    return path / "a.parquet"


def truncated_parquet(path: Path) -> Path:
    whole = parquet_of(path, prob=[0.1, 0.2], y=[0, 1])
    whole.write_bytes(whole.read_bytes()[:-20])
    return whole


def map_folder(path: Path, values: np.ndarray, labels: np.ndarray, name: str = "0") -> Path:
    for folder, array, stem in (("probs", values, "0"), ("gt", labels, name)):
        (path / folder).mkdir()
        Image.fromarray(array).save(path / folder / f"{stem}.png")
    return path


GREY = np.zeros((4, 4), dtype=np.uint8)
P = np.array([[0.9, 0.1], [0.2, 0.8]])
Y = np.array([0, 1])
CSV = "proba_0,proba_1,label\n0.9,0.1,0\n"

BAD = {
    "missing": (lambda d: d / "no.csv", "There is no file or folder"),
    "suffix": (lambda d: bad_text(d, "x", "a.xlsx"), "ends in '.xlsx', which is no known kind"),
    "npz truncated": (truncated_npz, "is damaged, or no npz file"),
    "npz damaged": (damaged_npz, "is damaged, or no npz file"),
    "npz of text": (lambda d: bad_text(d, "hello", "a.npz"), "is damaged, or no npz file"),
    "npy truncated": (truncated_npy, "is damaged, or no npy file"),
    "safetensors truncated": (truncated_safetensors, "is damaged, or no safetensors file"),
    "parquet truncated": (truncated_parquet, "is damaged, or no parquet file"),
    "csv truncated": (lambda d: bad_text(d, CSV + "0.9,0.\n"), "Line 3 of"),
    "csv empty": (lambda d: bad_text(d, ""), "is empty; its first line must name the columns"),
    "csv of headings": (lambda d: bad_text(d, "proba_0,proba_1,label\n"), "holds no predictions"),
    "csv of bytes": (lambda d: (d / "a.csv").write_bytes(b"\xff\xfe\x00") and d / "a.csv", "is damaged"),
    "csv without headings": (lambda d: bad_text(d, "0.9,0.1,0\n"), "The first line of"),
    "npz empty": (lambda d: bad_npz(d, probs=np.zeros((0, 2)), y=np.zeros(0)), "no predictions in it"),
    "text in numbers": (
        lambda d: bad_text(d, CSV + "0.9,n/a,0\n"),
        "of {path} holds 'n/a' on line 3",
    ),
    "empty cell": (lambda d: bad_text(d, CSV + "0.9,,0\n"), "holds '' on line 3"),
    "decimal comma": (lambda d: bad_text(d, 'prob;y\n"0,9";1\n'), "(with a decimal point)"),
    "nan": (lambda d: bad_text(d, CSV + "nan,0.1,0\n"), "of {path} hold nan, line 3, class 0"),
    "nan in npz": (lambda d: bad_npz(d, logits=P * [[1], [np.nan]], y=Y), "hold nan, row 1 (the first is 0)"),
    "infinite": (lambda d: bad_npz(d, logits=P * [[1], [np.inf]], y=Y), "hold inf, row 1"),
    "above 1": (lambda d: bad_text(d, CSV + "3.5,0.1,0\n"), "is 3.5, line 3, class 0, outside 0 to 1"),
    "sum": (lambda d: bad_text(d, CSV + "0.5,0.1,0\n"), "sum to 0.6, not to 1, line 3"),
    "label too large": (
        lambda d: bad_text(d, CSV + "0.9,0.1,2\n"),
        "label 2 of {path}, line 3, is no class: labels are 0 to 1; if yours are 1 to 2, write 0 to 1.",
    ),
    "label far off": (lambda d: bad_text(d, CSV + "0.9,0.1,255\n"), "count, pass --ignore-index 255."),
    "label negative": (
        lambda d: bad_npz(d, probs=P, y=-Y),
        "if yours are -1 and 1, write 0 and 1; if it does not count, pass --ignore-index=-1.",
    ),
    "label of text": (lambda d: bad_text(d, CSV + "0.9,0.1,dog\n"), "The label 'dog' of {path}, line 3"),
    "label soft": (lambda d: bad_npz(d, probs=P, y=Y * 0.5), "The label 0.5 of {path}, row 1"),
    "label one-hot": (lambda d: bad_npz(d, probs=P, y=np.eye(2)), "not one-hot"),
    "lengths": (lambda d: bad_npz(d, probs=P, y=np.zeros(3, int)), "give as many labels as predictions"),
    "shape": (
        lambda d: bad_npz(d, probs=np.zeros((2, 4, 4, 3)), y=np.zeros((2, 4, 4))),
        "has shape (2, 4, 4, 3)",
    ),
    "one class": (lambda d: bad_text(d, CSV), "(1) are all of the one class 0"),
    "no labels": (lambda d: bad_npz(d, probs=P), "holds no array of labels (targets, "),
    "two labels": (lambda d: bad_npz(d, probs=P, y=Y, labels=Y), "several arrays of labels ('y', 'labels')"),
    "no kind": (lambda d: bad_npz(d, scores=P, y=Y), "no name says logits or probabilities"),
    "both kinds": (lambda d: bad_npz(d, logits=P, probs=P, y=Y), "holds both logits and probabilities"),
    "two arrays": (lambda d: bad_npz(d, a_probs=P, b_probs=P, y=Y), "several arrays of probabilities"),
    "same column": (lambda d: bad_text(d, "prob,prob,y\n0.1,0.2,1\n"), "several columns of probabilities"),
    "class 0 alone": (lambda d: bad_text(d, "proba_0,y\n0.1,1\n"), "a single column must be that of class 1"),
    "objects": (
        lambda d: bad_npz(d, probs=np.array([[1, None], [0, 1]], dtype=object), y=Y),
        "holds Python objects",
    ),
    "names": (lambda d: bad_npz(d, probs=P, y=Y, class_names=np.array(["a"])), "names 1 classes"),
    "complex": (lambda d: bad_npz(d, logits=P * 1j, y=Y), "is of type complex128"),
    "null": (lambda d: parquet_of(d, prob=[0.1, None], y=[0, 1]), "'prob' of {path} has no value, row 1"),
    "ragged": (lambda d: parquet_of(d, probs=[[0.1, 0.9], [1.0]], y=[0, 1]), "holds a list of 1 values, row 1"),
    "text column": (lambda d: parquet_of(d, prob=["a", "b"], y=[0, 1]), "it must hold numbers"),
    "empty folder": (lambda d: d, "a folder of predictions holds npy files such as"),
    "map without labels": (lambda d: map_folder(d, GREY, GREY, "1"), "holds no map '0' (PNG or npy)"),
    "map of another size": (lambda d: map_folder(d, GREY, GREY[:2]), "write both in one size"),
    "map in colours": (lambda d: map_folder(d, np.zeros((4, 4, 3), np.uint8), GREY), "grey image of 8 or 16"),
    "labels in colours": (lambda d: map_folder(d, GREY, np.zeros((4, 4, 3), np.uint8)), "not a colour image"),
    "labels of three": (lambda d: map_folder(d, GREY, GREY + 2), "holds the level 2 at most"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_one_sentence_and_status_2(capsys, what: str, tmp_path: Path) -> None:
    make, said = BAD[what]
    path = make(tmp_path)
    status, out, err = say(capsys, path)
    assert (status, out) == (2, "")
    assert err.startswith("calibrant: ")
    assert err.count("\n") == 1
    assert said.replace("{path}", str(path)) in err
    assert tmp_path.name in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--fail-above", "ecee=0.1"], "There is no bound on a metric 'ecee'; did you mean 'ece'?"),
        (["--fail-above", "accuracy=0.1"], "Of accuracy more is better; bounds are known for ece"),
        (["--fail-above", "ece"], "--fail-above takes METRIC=NUMBER, such as ece=0.05, not 'ece'."),
        (["--fail-above", "ece=low"], "--fail-above takes METRIC=NUMBER"),
        (
            ["--fail-above", "ece=5"],
            "ece lies in 0 to 1, and ece=5 would guard nothing; for 5 % write ece=0.05.",
        ),
        (["--fail-above", "brier=-1"], "brier lies in 0 to 2, and brier=-1 would guard nothing."),
        (["--inputs", "prob"], "There is no 'prob'; did you mean 'probs'?"),
        (["--inputs", "logits"], "holds no array that is named as logits, only 'probs', 'y'"),
        (["--columns", "prob"], "holds no array 'prob', only 'probs', 'y'"),
        (["--columns", "y", "probs", "--inputs", "probs", "--label", "y"], "name one with --columns"),
        (["--label", "z"], "holds no array 'z' for the labels"),
        (["--bins", "0"], "n_bins must be an integer of at least 1, not 0."),
        (["--jsn"], "There is no option --jsn; did you mean --json?"),
    ],
)
def test_a_wrong_flag_is_one_sentence_and_status_2(capsys, flags: list[str], said: str, tmp_path: Path) -> None:
    status, out, err = say(capsys, bad_npz(tmp_path, probs=P, y=Y), *flags)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err


def test_files_of_one_name_are_told_apart(capsys, cancer: Said, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "test.npz", logits=cancer.logits, target=cancer.target)
    page = tmp_path / "page.html"
    status, out, err = say(
        capsys, tmp_path / "first" / "test.npz", tmp_path / "second" / "test.npz", "--out", page
    )
    assert (status, err) == (0, "")
    heads = [line.split() for line in out.splitlines() if line.split()[:1] in (["first/test.npz"], ["less"])]
    assert heads == [["first/test.npz", "second/test.npz"], ["less", "first/test.npz", "second/test.npz"]]
    assert "second/test.npz" in page.read_text()


@pytest.mark.parametrize(
    ("out", "said"),
    [("a.npz", "a.npz, which is read: choose another file"), ("a.pdf", "as .html, not as 'a.pdf'")],
)
def test_a_page_takes_no_place_that_it_may_not(
    capsys, cancer: Said, tmp_path: Path, out: str, said: str
) -> None:
    np.savez(tmp_path / "a.npz", logits=cancer.logits, target=cancer.target)
    before = (tmp_path / "a.npz").read_bytes()
    status, _, err = say(capsys, tmp_path / "a.npz", "--out", tmp_path / out)
    assert status == 2
    assert said in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.npz": before}


def test_a_page_does_not_replace_the_labels(capsys, cancer: Said, tmp_path: Path) -> None:
    values, labels = tmp_path / "a.npy", tmp_path / "labels.html"
    np.save(values, cancer.logits)
    labels.write_bytes(b"labels")
    assert say(capsys, values, "--label", labels, "--out", labels)[0] == 2
    assert labels.read_bytes() == b"labels"


def test_what_archivers_leave_behind_is_no_array(capsys, cancer: Said, tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", cancer.logits)
    np.save(tmp_path / "targets.npy", cancer.target)
    (tmp_path / "._targets.npy").write_bytes(b"litter")
    for path in (tmp_path, tmp_path / "logits.npy"):
        assert say(capsys, path)[0] == 0


def test_labels_in_bfloat16_are_read(capsys, cancer: Said, tmp_path: Path) -> None:
    tensors = {"logits": torch.tensor(cancer.logits), "targets": torch.tensor(cancer.target).bfloat16()}
    save_file(tensors, tmp_path / "a.safetensors")
    status, out, _ = say(capsys, tmp_path / "a.safetensors", "--json")
    assert (status, json.loads(out)["rows"]) == (0, len(cancer.target))


def test_a_missing_pyarrow_is_one_sentence(capsys, tmp_path: Path, monkeypatch) -> None:
    path = parquet_of(tmp_path, prob=[0.1, 0.2], y=[0, 1])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    status, _, err = say(capsys, path)
    assert status == 2
    assert err == f"calibrant: Reading {path} needs pyarrow; pip install pyarrow brings it.\n"


def test_flags_choose_names_and_labels_that_do_not_count(capsys, cancer: Said, tmp_path: Path) -> None:
    target = cancer.target.copy()
    target[:40] = 255
    columns = {"benign": cancer.probs[:, 1], "truth": target}
    path = write_csv(tmp_path / "a.csv", columns)
    flags = ["--columns", "benign", "--inputs", "probs", "--label", "truth", "--ignore-index", "255", "--json"]
    status, out, err = say(capsys, path, *flags)
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["rows"], found["classes"]) == (len(target) - 40, 2)
    expected = evaluate(torch.tensor(cancer.probs[40:]), torch.tensor(target[40:]), inputs="probs")
    assert found["ece"]["value"] == pytest.approx(expected["ece"].value)


@pytest.mark.parametrize("page", [False, True])
def test_a_trainer_is_never_loaded_and_plots_for_the_page_alone(
    page: bool, cancer: Said, tmp_path: Path
) -> None:
    plots = set() if page else {"matplotlib", "jinja2", "PIL"}
    arguments = [str(tmp_path / "a.npz"), "--json", *(["--out", str(tmp_path / "a.html")] if page else [])]
    np.savez(tmp_path / "a.npz", logits=cancer.logits, y=cancer.target)
    code = f"""
import sys
from calibrant.cli import main
assert main(["evaluate", *{arguments!r}]) == 0
loaded = {{name.partition(".")[0] for name in sys.modules}}
heavy = {{"lightning", "torchvision", "timm", "sklearn", "pandas", "pyarrow"}} | {plots!r}
print(sorted(loaded & heavy), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["rows"] == len(cancer.target)
    assert done.stderr == "[]\n"
