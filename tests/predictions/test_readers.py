"""Every kind of file gives the numbers that were written into it, in batches of any size."""

import csv
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file

from calibrant.predictions import PredictionFile, open_predictions
from calibrant.predictions.naming import kind_of
from tests.predictions.conftest import Said

Write = Callable[[Path, Said], Path]


def write_csv(path: Path, columns: dict[str, NDArray], delimiter: str = ",") -> Path:
    with path.open("w", newline="") as out:
        writer = csv.writer(out, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    return path


def columns_of(said: Said, prefix: str = "proba_") -> dict[str, NDArray]:
    values = said.probs if prefix.startswith("p") else said.logits
    return {f"{prefix}{k}": values[:, k] for k in range(values.shape[1])} | {"label": said.target}


def as_npz(path: Path, said: Said) -> Path:
    np.savez(path / "a.npz", probs=said.probs, y=said.target)
    return path / "a.npz"


def as_compressed_npz_by_columns(path: Path, said: Said) -> Path:
    np.savez_compressed(path / "a.npz", Probabilities=np.asfortranarray(said.probs), y_true=said.target)
    return path / "a.npz"


def as_npy_folder(path: Path, said: Said) -> Path:
    np.save(path / "probs.npy", said.probs)
    np.save(path / "targets.npy", said.target)
    return path


def as_npy_file(path: Path, said: Said) -> Path:
    as_npy_folder(path, said)
    np.save(path / "ids.npy", said.target)
    return path / "probs.npy"


def as_safetensors(path: Path, said: Said) -> Path:
    tensors = {"probs": torch.tensor(said.probs), "targets": torch.tensor(said.target)}
    save_file(tensors | {"ids": tensors["targets"].clone()}, path / "a.safetensors")
    return path / "a.safetensors"


def as_run_folder(path: Path, said: Said) -> Path:
    (path / "predictions").mkdir()
    as_safetensors(path, said).rename(path / "predictions" / "test.safetensors")
    return path


def as_csv(path: Path, said: Said) -> Path:
    return write_csv(path / "a.csv", {"id": np.arange(len(said.target)), **columns_of(said)})


def as_csv_of_semicolons(path: Path, said: Said) -> Path:
    return write_csv(path / "a.csv", columns_of(said), ";")


def as_tsv_in_another_order(path: Path, said: Said) -> Path:
    columns = dict(reversed(columns_of(said, "prob").items()))
    return write_csv(path / "a.tsv", columns, "\t")


def as_parquet(path: Path, said: Said) -> Path:
    parquet.write_table(pa.table(columns_of(said)), path / "a.parquet")
    return path / "a.parquet"


def as_parquet_of_lists(path: Path, said: Said) -> Path:
    parquet.write_table(pa.table({"probs": list(said.probs), "label": said.target}), path / "a.pq")
    return path / "a.pq"


WRITERS: list[Write] = [
    as_npz,
    as_compressed_npz_by_columns,
    as_npy_folder,
    as_npy_file,
    as_safetensors,
    as_run_folder,
    as_csv,
    as_csv_of_semicolons,
    as_tsv_in_another_order,
    as_parquet,
    as_parquet_of_lists,
]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_what_was_written_is_read(write: Write, digits: Said, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("calibrant.predictions.arrays.BATCH", 1000)
    monkeypatch.setattr("calibrant.predictions.tables.BATCH", 8000)
    found = open_predictions(write(tmp_path, digits))
    assert (found.inputs, found.classes, found.channels, found.dense) == ("probs", 10, 10, False)
    assert found.class_names == [str(k) for k in range(10)]
    assert found.rows == len(digits.target)
    assert found.ignore_index is None
    batches = list(found.batches())
    assert len(batches) > 10 or "parquet" in write.__name__
    assert torch.equal(torch.cat([b.values for b in batches]), torch.tensor(digits.probs))
    assert torch.equal(found.read().target, torch.tensor(digits.target))


@pytest.mark.parametrize("wide", [True, False])
def test_a_single_column_is_that_of_class_1(wide: bool, cancer: Said, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=cancer.logits[:, None] if wide else cancer.logits, y=cancer.target)
    write_csv(tmp_path / "a.csv", {"y": cancer.target, "y_logit": cancer.logits})
    parquet.write_table(pa.table({"y": cancer.target, "logit": cancer.logits}), tmp_path / "a.parquet")
    for name in ("a.npz", "a.csv", "a.parquet"):
        found = open_predictions(tmp_path / name)
        assert (found.inputs, found.classes, found.channels) == ("logits", 2, 1)
        values, target = found.read()
        assert torch.equal(values, torch.tensor(cancer.logits)[:, None])
        assert torch.equal(target, torch.tensor(cancer.target))


def test_labels_may_be_names_of_classes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('proba_cat,proba_dog,y\n0.9,0.1,cat\n\n0.2,0.8,"dog"\n0.4,0.6,0\n')
    found = open_predictions(tmp_path / "a.csv")
    assert found.class_names == ["cat", "dog"]
    assert found.read().target.tolist() == [0, 1, 0]
    (tmp_path / "b.csv").write_text("probs[3],probs[5],y\n0.9,0.1,3\n0.2,0.8,5.0\n")
    assert open_predictions(tmp_path / "b.csv").read().target.tolist() == [0, 1]
    probs = np.array([[0.9, 0.1], [0.2, 0.8]])
    np.savez(
        tmp_path / "c.npz", probs=probs, labels=np.array(["no", "yes"]), class_names=np.array(["no", "yes"])
    )
    found = open_predictions(tmp_path / "c.npz")
    assert (found.class_names, found.read().target.tolist()) == (["no", "yes"], [0, 1])


def test_safetensors_name_their_classes(tmp_path: Path) -> None:
    tensors = {"logits": torch.tensor([[1.0, 0.0]]).bfloat16(), "targets": torch.tensor([1])}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"class_names": json.dumps(["a", "b"])})
    found = open_predictions(tmp_path / "a.safetensors")
    assert found.class_names == ["a", "b"]
    assert found.read().values.dtype == torch.bfloat16


def test_labels_that_do_not_count_become_minus_one(tmp_path: Path) -> None:
    rows = ["proba_1,proba_2,y", "0.9,0.1,1", "9,9,0", "0.2,0.8,2", "nan,0.8,255"]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    found = open_predictions(tmp_path / "a.csv", ignore_index=[0, 255])
    assert found.ignore_index == -1
    assert found.read().target.tolist() == [0, -1, 1, -1]


@pytest.mark.parametrize(
    ("name", "inputs", "of"),
    [
        ("logits", "logits", ""),
        ("Test Logits", "logits", "Test"),
        ("proba_0", "probs", "0"),
        ("PROB-cat", "probs", "cat"),
        ("logits.12", "logits", "12"),
        ("y_proba", "probs", "y"),
        ("probability3", "probs", "3"),
        ("prob_not_a_cat", "probs", "not_a_cat"),
    ],
)
def test_names_say_what_values_are(name: str, inputs: str, of: str) -> None:
    assert kind_of(name) == (inputs, of)


def test_flags_choose_where_names_do_not(digits: Said, tmp_path: Path) -> None:
    said = {"logits": digits.logits, "probs": digits.probs, "y": digits.target, "truth": digits.target[::-1]}
    np.savez(tmp_path / "a.npz", **said)
    values = open_predictions(tmp_path / "a.npz", inputs="logits", label="truth").read()
    assert torch.equal(values.values, torch.tensor(digits.logits))
    assert torch.equal(values.target, torch.tensor(digits.target[::-1].copy()))
    np.savez(tmp_path / "b.npz", scores=digits.logits, y=digits.target)
    assert open_predictions(tmp_path / "b.npz", inputs="logits").inputs == "logits"
    (tmp_path / "c.csv").write_text("no,yes,logit_no,logit_yes,said\n0.3,0.7,1,2,yes\n")
    found = open_predictions(tmp_path / "c.csv", "probs", columns=["no", "yes"], label="said")
    assert (found.class_names, found.read().values.tolist()) == (["no", "yes"], [[0.3, 0.7]])
    np.save(tmp_path / "scores.npy", digits.logits)
    np.save(tmp_path / "truth.npy", digits.target)
    found = open_predictions(tmp_path / "scores.npy", "logits", label="truth.npy")
    assert torch.equal(found.read().target, torch.tensor(digits.target))


def maps(folder: Path, of: Callable[[int], tuple[NDArray, NDArray]], ending: str) -> PredictionFile:
    """Write three maps of different sizes and their labels."""
    for name in ("probs", "masks"):
        (folder / name).mkdir()
    for k in range(3):
        for name, array in zip(("probs", "masks"), of(k), strict=True):
            if ending == ".png":
                Image.fromarray(array).save(folder / name / f"{k}.png")
            else:
                np.save(folder / name / f"{k}.npy", array)
    return open_predictions(folder)


@pytest.mark.parametrize("white", [1, 255])
def test_grey_maps_are_probabilities_and_white_is_class_1(white: int, tmp_path: Path) -> None:
    grey = np.array([[0, 51], [255, 102], [0, 0]], dtype=np.uint8)
    mask = (np.array([[0, 1], [1, 1], [0, 0]]) * white).astype(np.uint8)
    found = maps(tmp_path, lambda k: (grey[: k + 1], mask[: k + 1]), ".png")
    assert (found.inputs, found.classes, found.channels, found.dense, found.rows) == ("probs", 2, 1, True, 3)
    last = list(found.batches())[-1]
    assert torch.equal(last.values, torch.tensor(grey / 255)[None, None])
    assert torch.equal(last.target, torch.tensor(mask > 0).long()[None])


def test_maps_of_several_classes_are_npy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), size=(5, 6)).transpose(2, 0, 1)
    truth = rng.integers(0, 4, (5, 6))
    found = maps(tmp_path, lambda k: (probs[:, : k + 2], truth[: k + 2]), ".npy")
    assert (found.classes, found.channels, found.dense) == (4, 4, True)
    last = list(found.batches())[-1]
    assert torch.equal(last.values, torch.tensor(probs[:, :4])[None])
    assert torch.equal(last.target, torch.tensor(truth[:4])[None])
    (tmp_path / "masks").rename(tmp_path / "other")
    assert open_predictions(tmp_path / "probs", label=str(tmp_path / "other")).classes == 4


@pytest.mark.parametrize("binary", [True, False])
def test_arrays_of_maps_are_dense(binary: bool, tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(3, 5, 6) if binary else (3, 4, 5, 6)).astype(np.float32)
    np.savez(tmp_path / "a.npz", logits=logits, targets=np.ones((3, 5, 6), dtype=np.uint8))
    found = open_predictions(tmp_path / "a.npz")
    assert (found.dense, found.channels, found.rows) == (True, 1 if binary else 4, 3)
    values, target = found.read()
    assert torch.equal(values, torch.tensor(logits[:, None] if binary else logits))
    assert target.shape == (3, 5, 6)


@pytest.mark.parametrize("kind", ["npy", "npz", "npz_compressed", "csv"])
def test_a_file_is_never_held_whole(kind: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("calibrant.predictions.arrays.BATCH", 4000)
    monkeypatch.setattr("calibrant.predictions.tables.BATCH", 4000)
    rows = 2_000 if kind == "csv" else 20_000
    logits = np.random.default_rng(0).normal(size=(rows, 40))
    target = np.arange(rows) % 40
    if kind == "npy":
        np.save(tmp_path / "logits.npy", logits)
        np.save(tmp_path / "y.npy", target)
        path = tmp_path
    elif kind == "csv":
        path = write_csv(tmp_path / "a.csv", {f"logit_{k}": logits[:, k] for k in range(40)} | {"y": target})
    else:
        path = tmp_path / "a.npz"
        (np.savez if kind == "npz" else np.savez_compressed)(path, logits=logits, y=target)
    size, total = logits.nbytes, float(logits.sum())
    del logits, target
    tracemalloc.start()
    found = sum(float(batch.values.sum()) for batch in open_predictions(path).batches())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == pytest.approx(total)
    assert peak < size / 3
