"""`calibrant corrupt`: finished runs on corrupted images, resumed, tabulated and drawn."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant.cli import main
from calibrant.compare.corruption import CorruptionTable, tabulate_corruptions
from calibrant.data import ImageTask
from calibrant.data.corruptions import corrupt
from calibrant.data.image_set import divide
from calibrant.data.registry import DATASETS
from calibrant.errors import InputError
from calibrant.metrics import evaluate
from calibrant.training.corruption import CorruptionPlan, CorruptionResult, judge_corruptions
from calibrant.training.recipe_files import load_recipe, to_yaml
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import read_data, run
from calibrant.training.stages import restore
from tests.training.tiny import tiny_recipe


def tiny_photos(train: int = 60, val: int = 60, split_seed: int = 1) -> ImageTask:
    """Squares of three colours in noise."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(240) % 3
    pixels = torch.randint(0, 160, (240, 3, 8, 8), generator=generator)
    pixels[torch.arange(240), targets] += 30
    sets = divide(pixels.to(torch.uint8), targets, [train, val, 240 - train - val], split_seed)
    return ImageTask(*sets, class_names=["a", "b", "c"], mean=[100.0] * 3, std=[50.0] * 3, padding=1)


DATASETS.register("tiny_photos")(tiny_photos)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs on colours."""
    folder = tmp_path_factory.mktemp("runs")
    for loss in ("ce", "mbls"):
        recipe = tiny_recipe(data__name="tiny_photos", train__loss__name=loss, train__epochs=3)
        run(recipe, folder / loss)
    return folder


def test_a_cell_is_what_its_images_give(runs):
    run_ = RunFolder(runs / "ce")
    plan = CorruptionPlan(["gaussian_noise", "contrast"], [1, 5])
    told = []
    result = judge_corruptions(run_, plan, lambda done, every: told.append((done, every)))
    assert told == [(k, 5) for k in range(1, 6)]
    clean, known = result.values("clean", 0), run_.result()["metrics"]["test"]
    for stage in ("none", "temperature"):
        for name, value in clean[stage].items():
            assert value == pytest.approx(known[stage][name]["value"], abs=1e-6)
    recipe = load_recipe(str(run_.recipe_path))
    data = read_data(recipe)
    test = data.task.test
    noisy = corrupt(test.images, "gaussian_noise", 5, ids=test.ids)
    with torch.inference_mode():
        logits = restore(recipe, run_, data)((noisy.float() - 100) / 50)
    expected = evaluate(logits, test.targets, inputs="logits", intervals=False)
    found = result.values("gaussian_noise", 5)["none"]
    for name, value in found.items():
        assert value == pytest.approx(expected[name].value, abs=1e-5)
    # What is known is kept; what is not is computed.
    path = plan.place(run_)
    content = json.loads(path.read_text())
    content["values"]["contrast"]["1"]["none"]["ece"] = 0.125
    del content["values"]["contrast"]["5"]
    path.write_text(json.dumps(content))
    again = judge_corruptions(run_, plan)
    assert again.values("contrast", 1)["none"]["ece"] == 0.125
    assert again.values("contrast", 5) == result.values("contrast", 5)


def test_the_command_writes_table_and_figure(runs, tmp_path, capsys):
    names = ["shot_noise", "fog"]
    given = ["--corruptions", *names, "--severities", "1", "3", "5", "--images", "40", "--out", str(tmp_path)]
    given += ["--data.workers", "1"]
    assert main(["corrupt", str(runs), *given]) == 0
    said = capsys.readouterr().out
    assert "Mean over shot_noise, fog; severity 0 is clean:" in said
    assert "mbls    temperature  NLL" in said
    plan = CorruptionPlan(names, [1, 3, 5], images=40)
    table = tabulate_corruptions([RunFolder(runs / name) for name in ("ce", "mbls")], plan)
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert len(rows) == len((tmp_path / "table.csv").read_text().splitlines()) - 1 == 2 * (4 + 2 * 3) * 2
    mean = next(r for r in rows if r["method"] == "ce" and r["corruption"] == "mean" and r["severity"] == 3)
    each = [table.value("ce", name, 3, "none", "ece") for name in names]
    assert mean["ece"] == pytest.approx(np.mean(each))
    assert "severity of the corruption" in (tmp_path / "severity.svg").read_text()
    assert (tmp_path / "severity.png").stat().st_size > 5000


def test_frost_is_judged_where_photographs_are_given(runs, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 70, 3)).astype(np.uint8)
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    Image.fromarray(pixels).save(photographs / "a.png")
    given = ["--frost", str(photographs), "--images", "30", "--severities", "3", "--out", str(tmp_path)]
    given += ["--corruptions", "frost", "fog", "--data.workers", "1"]
    assert main(["corrupt", str(runs), *given]) == 0
    assert "Mean over frost, fog" in capsys.readouterr().out
    plan = CorruptionPlan(images=30, frost=photographs)
    result = CorruptionResult(plan.place(RunFolder(runs / "ce")))
    assert result.path.name.startswith("made-frost_photographs-")
    assert 0 < result.values("frost", 3)["none"]["accuracy"] < 1
    assert not CorruptionPlan(images=30).place(RunFolder(runs / "ce")).exists()


def test_published_images_are_judged_too(runs, tmp_path, capsys):
    test = tiny_photos().test
    same = np.tile(test.images.permute(0, 2, 3, 1).numpy(), (5, 1, 1, 1))
    folder = tmp_path / "TINY-C"
    folder.mkdir()
    np.save(folder / "frost.npy", same)
    np.save(folder / "labels.npy", np.tile(test.targets.numpy(), 5).astype(np.uint8))
    result = judge_corruptions(RunFolder(runs / "ce"), CorruptionPlan(severities=[4], folder=folder))
    assert result.path.name.startswith("read-TINY-C-")
    # A set of the same name elsewhere is another.
    assert CorruptionPlan(folder=tmp_path / "other" / "TINY-C").place(RunFolder(runs / "ce")) != result.path
    (folder / "frost.npy").rename(folder / "speckle_noise.npy")
    with pytest.raises(InputError, match="TINY-C holds no corruption of the benchmark: name others"):
        judge_corruptions(RunFolder(runs / "ce"), CorruptionPlan(folder=folder))
    assert result.names == ["frost"]
    assert result.values("frost", 4) == result.values("clean", 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--corruptions", "frost"], "photographs of frost"),
        (["--frost", "nowhere"], "Photographs of frost were looked for in"),
        (["--frost", "here", "--corrupted", "there"], "there holds images with frost of its own"),
        (["--corruptions", "fogg"], "did you mean 'fog'?"),
        (["--severities", "0"], "severities 1 to 5, not 0."),
        (["--seed", "-1"], "seed must be at least 0, not -1."),
        (["--images", "1000"], "There are 120 test images, of which 1,000 were asked for."),
        (["--corrupted", "nowhere"], "where files such as gaussian_noise.npy"),
    ],
)
def test_a_mistake_is_one_sentence(runs, capsys, given, said):
    assert main(["corrupt", str(runs / "ce"), *given]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_the_mean_is_that_of_what_was_asked_for_once(runs):
    run_ = RunFolder(runs / "ce")
    values = {"none": {"accuracy": 0.5, "ece": 0.1, "nll": 1.0}}
    result = CorruptionResult(CorruptionPlan(images=7).place(run_))
    for name, severity in (("clean", 0), ("fog", 1), ("saturate", 1)):
        result.note(name, severity, values)
    # What the benchmark does not hold was judged by another command.
    assert tabulate_corruptions([run_], CorruptionPlan(severities=[1], images=7)).names == ["fog"]
    plan = CorruptionPlan(["saturate", "fog", "saturate"], [1, 1])
    assert (plan.names, plan.severities) == (("saturate", "fog"), (1,))


def test_seeds_give_a_spread_and_other_photographs_are_told(tmp_path):
    plan, seeds = CorruptionPlan(["fog", "snow"], [1]), []
    for seed, errors in enumerate(([0.1, 0.3], [0.2, 0.6])):
        seeds.append(CorruptionResult(tmp_path / f"{seed}.json"))
        seeds[-1].others = seed == 1
        for name, level, ece in (("clean", 0, 0.05), ("fog", 1, errors[0]), ("snow", 1, errors[1])):
            seeds[-1].note(name, level, {"none": {"accuracy": 0.5, "ece": ece, "nll": 1.0}})
    again = CorruptionResult(tmp_path / "1.json")
    assert again.others
    table = CorruptionTable(plan, ["fog", "snow"], {"ce": [seeds[0], again]})
    # The mean over the corruptions is 0.2 and 0.4.
    assert table.value("ce", "mean", 1, "none", "ece") == pytest.approx(0.3)
    assert table.spread("ce", "mean", 1, "none", "ece") == pytest.approx(0.2 / 2**0.5)
    text = table.to_text()
    assert "30.00 ± 14.14" in text
    assert "Mean ± standard deviation over seeds." in text
    assert "other photographs than the test images" in text
    header, first, *_ = (line.split(",") for line in table.to_csv().splitlines())
    assert dict(zip(header, first, strict=True))["ece_std"] == "0.0"
    alone = CorruptionTable(plan, ["fog", "snow"], {"ce": seeds[:1]})
    assert alone.spread("ce", "fog", 1, "none", "ece") is None
    assert "±" not in alone.to_text()
    assert "other photographs" not in alone.to_text()


def test_what_cannot_stand_in_one_table_is_refused(runs, tmp_path, capsys):
    shutil.copytree(runs / "ce", tmp_path / "again")
    assert main(["corrupt", str(runs / "ce"), str(tmp_path / "again")]) == 2
    assert "are both 'ce' with seed 0" in capsys.readouterr().err
    run(tiny_recipe(data__name="tiny_photos", data__train=50, train__epochs=1, seed=1), tmp_path / "other")
    assert main(["corrupt", str(runs / "ce"), str(tmp_path / "other")]) == 2
    assert "were made on different data (train: 60 and 50)" in capsys.readouterr().err
    plan = CorruptionPlan(["fog"], [1], seed=7)
    with pytest.raises(InputError, match="no corruption that all of these runs were judged on"):
        tabulate_corruptions([RunFolder(runs / "ce")], plan)


def test_a_run_that_another_process_judges_is_left_alone(runs):
    run_ = RunFolder(runs / "ce")
    with run_.locked(), pytest.raises(InputError, match="is being written by another process"):
        judge_corruptions(run_, CorruptionPlan(["fog"], [1], seed=8))
    assert not CorruptionPlan(["fog"], [1], seed=8).place(run_).exists()


@pytest.mark.parametrize("content", [b"\xff", b"[]", b'{"values": [3]}', b'{"values"'])
def test_damaged_results_are_said(tmp_path, content):
    (tmp_path / "made.json").write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        CorruptionResult(tmp_path / "made.json")


def test_a_run_on_maps_is_refused(tmp_path, capsys):
    run_ = RunFolder(tmp_path / "dense")
    recipe = tiny_recipe(data__name="tiny_maps", model__name="tiny_dense_net", train__loss__name="bce")
    run_.path.mkdir()
    run_.recipe_path.write_text(to_yaml(recipe))
    run_.write_result({"recipe": "tiny", "method": "bce", "seed": 0, "metrics": {}, "data": {}})
    assert main(["corrupt", str(tmp_path)]) == 2
    assert "judge classifiers of images, and" in capsys.readouterr().err
