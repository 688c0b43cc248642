"""Runs as files for other programs: what they say, hold and are worth, and what is refused."""

import json
import shutil
import sys
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch

from calibrant.cli import main
from calibrant.data import create
from calibrant.errors import InputError
from calibrant.export import export_run, find_run
from calibrant.export.formats import Program
from calibrant.posthoc import ConformalSets, TemperatureScaling, VectorScaling, save_calibrator
from calibrant.training.recipe_files import load_recipe
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import run
from tests.data.test_label_maps import SMALL, write_voc
from tests.training.tiny import tiny_recipe


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run of one epoch on real digits."""
    recipe = load_recipe("digits", {"train": {"epochs": 1, "validate_every": 1}})
    return run(recipe, tmp_path_factory.mktemp("digits"))


def session(path):
    """Return a file in plain onnxruntime."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_digits_run_without_calibrant(digits, capsys):
    assert main(["export", str(digits.path)]) == 0
    said = capsys.readouterr().out
    temperature = digits.result()["posthoc"]["temperature"]["temperature"]
    told = digits.predictions("test")
    expected = (told.logits / temperature).softmax(1).numpy()
    images = create("digits").test.images
    network = session(digits.path / "export" / "network.onnx")
    assert [(given.name, given.type, given.shape) for given in network.get_inputs()] == [
        ("image", "tensor(uint8)", ["batch", 1, 8, 8])
    ]
    for size in (1, 7, len(images)):
        probs, logits = network.run(["probs", "logits"], {"image": images[:size].numpy()})
        assert np.abs(probs - expected[:size]).max() < 1e-5
        assert np.abs(logits - told.logits[:size].numpy() / temperature).max() < 1e-4
    facts = {key: json.loads(text) for key, text in network.get_modelmeta().custom_metadata_map.items()}
    assert facts["class_names"] == [str(digit) for digit in range(10)]
    assert facts["calibrator"]["method"] == "temperature"
    assert "subtracts the means 4.9 and divides by 6" in facts["input"]["meaning"]
    assert set(facts["versions"]) == {"calibrant", "torch", "python"}

    for file in (digits.path / "export").iterdir():
        # Nothing says where on this machine the code is.
        held = zipfile.ZipFile(file) if file.suffix == ".pt2" else None
        parts = [held.read(name) for name in held.namelist()] if held else [file.read_bytes()]
        assert not any(b"folding.py" in part for part in parts)

    extra = {"calibrant.json": ""}
    program = torch.export.load(digits.path / "export" / "network.pt2", extra_files=extra).module()
    for size in (1, 7):
        assert np.abs(program(images[:size])[0].numpy() - expected[:size]).max() < 1e-5
    assert json.loads(extra["calibrant.json"]) == facts

    # The run, PyTorch, ONNX and torch.export, side by side.
    line = next(line for line in said.splitlines() if line.strip().startswith("ECE %"))
    ece = 100 * digits.result()["metrics"]["test"]["temperature"]["ece"]["value"]
    assert [float(word) for word in line.split()[2:]] == pytest.approx([ece] * 4, abs=2e-4)
    assert "on 1,197 test samples its probabilities differ from PyTorch's by" in said


def same_metrics(found, names, **tolerance):
    for values in (found.checked.metrics, *found.checked.exported.values()):
        assert {name: values[name] for name in names} == pytest.approx(
            {name: found.run[name] for name in names}, **tolerance
        )


def test_a_dense_run_gives_the_maps_of_the_run(tmp_path):
    recipe = tiny_recipe(
        data__name="tiny_maps", model__name="tiny_dense_net", train__loss__name="bce", train__batch_size=4,
        train__epochs=1,
    )  # fmt: skip
    finished = run(recipe, tmp_path)
    found = export_run(finished, formats=["torch"])
    assert found.facts["outputs"]["probs"]["shape"] == ["batch", 1, 16, 16]
    assert "object" in found.facts["class_names"]
    same_metrics(found, ("accuracy", "ece", "nll", "brier", "mae"), rel=1e-4)
    assert found.run["ece"] != finished.result()["metrics"]["test"]["none"]["ece"]["value"]


def test_label_maps_are_fitted_into_a_window(tmp_path):
    write_voc(tmp_path / "voc", train=7, val=3)
    (tmp_path / "voc" / "classes.txt").write_text("ground\nred\ngreen\nblue\nyellow\n")
    recipe = tiny_recipe(
        data__name="voc", data__root=str(tmp_path / "voc"), data__val=2, data__args=dict(SMALL),
        model__name="tiny_dense_net", train__batch_size=3, train__epochs=1,
    )  # fmt: skip
    found = export_run(run(recipe, tmp_path / "run"), formats=["torch"])
    assert found.checked.differences["torch"].samples == 3
    same_metrics(found, ("accuracy", "ece", "nll", "miou"), rel=1e-4)


def test_texts_of_any_padding(tmp_path):
    generator = np.random.default_rng(0)
    words = [[f"w{k}" for k in generator.integers(0, 30, size)] for size in generator.integers(1, 40, 90)]
    rows = [f"{' '.join([*text, 'good' if k % 2 else 'bad'])}\t{k % 2}\n" for k, text in enumerate(words)]
    (tmp_path / "texts.tsv").write_text("text\tlabel\n" + "".join(rows))
    recipe = tiny_recipe(
        data__name="text_table", data__root=str(tmp_path), data__val=20,
        data__args={"train_file": "texts.tsv", "length": 40, "vectors": None},
        model__name="text_cnn", model__args={"width": 8}, train__epochs=2,
    )  # fmt: skip
    finished = run(recipe, tmp_path / "run")
    found = export_run(finished, tmp_path / "out", ["onnx"])
    same_metrics(found, ("accuracy", "ece", "nll"), rel=1e-4)
    network = session(tmp_path / "out" / "network.onnx")
    facts = {key: json.loads(text) for key, text in network.get_modelmeta().custom_metadata_map.items()}
    numbers = [facts["words"].index(word) for word in ("w3", "good")]
    tokens = np.array([[0] * 38 + numbers], dtype=np.int32)
    (probs,) = network.run(["probs"], {"tokens": tokens})
    assert probs.shape == (1, 2)
    assert probs.sum() == pytest.approx(1)


def test_two_stages_and_a_calibrator_from_a_file(tmp_path):
    finished = run(
        tiny_recipe(train__epochs=1, decouple={"method": "lws", "epochs": 1, "batch_size": 16}, posthoc=[]),
        tmp_path,
    )
    val = finished.predictions("val")
    vector = VectorScaling().fit(2 * torch.randn_like(val.logits), val.targets)
    file = save_calibrator(vector, tmp_path / "vector.safetensors", val.class_names)
    found = export_run(finished, formats=["torch"], calibrator=str(file), samples=5)
    # The run says nothing of this calibrator, nor of five samples.
    assert (found.facts["calibrator"]["method"], found.run, found.checked.samples) == ("vector", {}, 5)
    test = finished.predictions("test")
    program = torch.export.load(tmp_path / "export" / "network.pt2").module()
    images = create("tiny_images").test.images
    assert torch.allclose(program(images)[1], vector(test.logits), atol=1e-4)


def test_mistakes_are_one_sentence(digits, tmp_path, capsys, monkeypatch):
    def refused(*arguments: object) -> str:
        assert main(["export", *map(str, arguments), "--out", str(tmp_path / "out"), "--format", "torch"]) == 2
        assert not list(tmp_path.glob("out/*"))
        return capsys.readouterr().err

    assert "is no finished run: it holds no result.json" in refused(tmp_path / "nothing")
    copy = RunFolder(shutil.copytree(digits.path, tmp_path / "copy"))
    copy.stage("train").weights.unlink()
    assert "holds no weights/train.safetensors" in refused(copy.path)
    copy.calibrator_path("temperature").unlink()
    assert "holds no fitted calibrator 'temperature'" in refused(copy.path)
    assert "There is no calibrator 'temperatur'; did you mean 'temperature'?" in refused(
        digits.path, "--calibrator", "temperatur"
    )
    logits, target = torch.randn(50, 3), torch.arange(50) % 3
    file = tmp_path / "of3.safetensors"
    save_calibrator(VectorScaling().fit(logits, target), file)
    assert "was fitted to 3 classes; it takes" in refused(digits.path, "--calibrator", file)
    save_calibrator(TemperatureScaling().fit(logits, target), file, ["a", "b", "c"])
    assert "was fitted to 3 classes, " in refused(digits.path, "--calibrator", file)
    save_calibrator(ConformalSets(0.5).fit(logits, target), file)
    assert "gives sets of classes, not probabilities" in refused(digits.path, "--calibrator", file)
    shutil.copytree(digits.path, tmp_path / "second")
    with pytest.raises(InputError, match=r"holds 2 finished runs; name one of them, such as .*copy"):
        find_run(tmp_path)

    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnxscript", None)
        assert main(["export", str(digits.path), "--out", str(tmp_path / "out")]) == 2
        assert "this needs onnxscript; pip install 'calibrant[all]'" in capsys.readouterr().err

    load = Program.load
    monkeypatch.setattr(Program, "load", lambda self, path: _Shifted(load(self, path)))
    said = refused(digits.path)
    assert "differ from PyTorch's by up to 3e-05, by more than 1e-05" in said
    assert "on 1,197 of 1,197 test samples; nothing was written" in said


class _Shifted:
    def __init__(self, network):
        self.network = network

    def __call__(self, samples):
        probs, logits = self.network(samples)
        return probs + 3e-5, logits
