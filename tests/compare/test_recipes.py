"""Several recipes in one comparison: planned, their first stage shared, trained, shown and reported."""

import json
from pathlib import Path

import pytest
import yaml

from calibrant.cli import main
from calibrant.compare.methods import Planned, plan, share_first_stages
from calibrant.compare.naming import method_names
from calibrant.errors import InputError
from calibrant.training.recipe_files import to_yaml
from calibrant.training.run_folder import RunFolder


def write_recipe(folder: Path, name: str, **tree: object) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"inherit": "digits", "losses": {}, "seeds": [0]} | tree))
    return str(path)


def second(method: str) -> dict[str, object]:
    # Six training images in some classes: four of each class at a time make whole batches.
    return {"method": method, "epochs": 2, "batch_size": 40, "loss": {"name": "ce"}}


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """Two recipes that differ in their second stage alone."""
    train = {"epochs": 3, "validate_every": 1}
    return [write_recipe(tmp_path, m, train=train, decouple=second(m)) for m in ("crt", "lws")]


def folders(runs: list[Planned]) -> list[str]:
    return [folder.as_posix() for _, folder in runs]


def test_a_plan_of_several_recipes_runs_each_with_its_own_loss(two):
    runs = plan([*two, "digits"], {"train": {"epochs": 5}}, root=Path("r"))
    assert folders(runs) == ["r/crt/ce/seed0", "r/lws/ce/seed0", "r/digits/ce/seed0"]
    assert [recipe.decouple.method for recipe, _ in runs] == ["crt", "lws", "none"]
    assert {recipe.train.epochs for recipe, _ in runs} == {5}


def test_losses_vary_the_second_stage_where_there_is_one(two):
    runs = plan([*two, "digits"], {}, losses=["ls", "las"], seeds=[3])
    assert folders(runs) == [
        f"runs/{r}/{loss}/seed3" for r in ("crt", "lws", "digits") for loss in ("ls", "las")
    ]
    for recipe, _ in runs:
        varied, kept = (recipe.train, recipe.decouple)[:: 1 if recipe.name == "digits" else -1]
        assert varied.loss.name in ("ls", "las")
        assert kept.loss.name == "ce"


def test_a_first_stage_that_two_recipes_share_is_a_run_of_its_own(two):
    runs = plan(two, {}, seeds=[0, 1], root=Path("r"))
    first, rest = share_first_stages(runs, Path("r"))
    assert folders(first) == ["r/crt-first-stage/ce/seed0", "r/crt-first-stage/ce/seed1"]
    assert {(recipe.name, recipe.decouple.method) for recipe, _ in first} == {("crt/first-stage", "none")}
    assert folders(rest) == folders(runs)
    for (before, _), (after, _) in zip(runs, rest, strict=True):
        assert after.decouple.from_run == f"r/crt-first-stage/ce/seed{after.seed}"
        assert after.train == before.train


def test_a_first_stage_that_is_compared_itself_serves_the_others(two, tmp_path):
    plain = write_recipe(tmp_path, "plain", train={"epochs": 3, "validate_every": 1})
    runs = plan([two[0], plain, two[1]], {}, root=Path("r"))
    first, rest = share_first_stages(runs, Path("r"))
    assert folders(first) == ["r/plain/ce/seed0"]
    assert folders(rest) == ["r/crt/ce/seed0", "r/lws/ce/seed0"]
    assert {recipe.decouple.from_run for recipe, _ in rest} == {"r/plain/ce/seed0"}


def test_first_stages_that_differ_are_not_shared(two, tmp_path):
    other = write_recipe(tmp_path, "other", train={"epochs": 4, "validate_every": 1}, decouple=second("crt"))
    first, rest = share_first_stages(plan([*two, other], {}, root=Path("r")), Path("r"))
    assert folders(first) == ["r/crt-first-stage/ce/seed0", "r/other-first-stage/ce/seed0"]
    assert [recipe.decouple.from_run for recipe, _ in rest] == [folders(first)[i] for i in (0, 0, 1)]


def test_a_run_that_began_with_a_first_stage_of_its_own_goes_on_with_it(two, tmp_path):
    runs = plan(two, {}, root=tmp_path / "r")
    recipe, folder = runs[0]
    folder.mkdir(parents=True)
    RunFolder(folder).recipe_path.write_text(to_yaml(recipe))
    first, rest = share_first_stages(runs, tmp_path / "r")
    assert len(first) == 1
    assert [recipe.decouple.from_run is None for recipe, _ in rest] == [True, False]


@pytest.mark.parametrize("add_the_plain_one", [True, False])
def test_begun_runs_keep_their_first_stage_whatever_joins_the_comparison(two, tmp_path, add_the_plain_one):
    root = tmp_path / "r"
    for stage in share_first_stages(plan(two, {}, root=root), root):
        for recipe, folder in stage:
            folder.mkdir(parents=True)
            RunFolder(folder).recipe_path.write_text(to_yaml(recipe))
    plain = write_recipe(tmp_path, "plain", train={"epochs": 3, "validate_every": 1})
    names = [*two[::-1], plain] if add_the_plain_one else two[::-1]
    first, rest = share_first_stages(plan(names, {}, root=root), root)
    assert folders(first) == [f"{root}/crt-first-stage/ce/seed0"]
    taken = {recipe.name: recipe.decouple.from_run for recipe, _ in rest}
    kept = f"{root}/crt-first-stage/ce/seed0"
    assert taken == {"crt": kept, "lws": kept} | ({"plain": None} if add_the_plain_one else {})


def test_recipes_of_one_name_are_not_mixed_up(tmp_path):
    for place, epochs in (("a", 2), ("b", 3)):
        (tmp_path / place).mkdir()
        write_recipe(tmp_path / place, "same", train={"epochs": epochs})
    names = [str(tmp_path / place / "same.yaml") for place in "ab"]
    with pytest.raises(InputError, match="Two recipes called 'same' would both be kept in"):
        plan(names, {})


def test_a_comparison_of_two_recipes_trains_their_first_stage_once(two, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *two, "--jobs", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "3 of 3: runs/lws/ce/seed0 is finished" in captured.out
    runs = [tmp_path / "runs" / name / "ce/seed0" for name in ("crt-first-stage", "crt", "lws")]
    # Weights of the first stage are where it was trained, and nowhere else.
    assert [(run / "weights/train.safetensors").is_file() for run in runs] == [True, False, False]
    assert [(run / "weights/decouple.safetensors").is_file() for run in runs] == [False, True, True]

    home = tmp_path / "runs/comparison"
    table = json.loads((home / "table.json").read_text())
    assert [row["method"] for row in table["rows"]] == ["crt", "lws"]
    assert [line.split()[0] for line in captured.out.splitlines() if "as trained" in line] == ["crt", "lws"]
    page = (home / "report.html").read_text()
    assert "Reliability of crt" in page
    assert "Reliability of lws" in page
    assert "Training curves" in page
    assert "Missing or doubtful" not in page

    before = {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*.*")}
    assert main(["compare", *two, "--jobs", "1"]) == 0
    assert "3 of 3 runs are finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*.*")} == before

    # Whoever points at the folder of all runs sees the first stage too, under a name of its own.
    assert main(["report", "runs", "--out", "all.html"]) == 0
    names = method_names([RunFolder(run).result() for run in runs])
    assert names == ["crt/first-stage", "crt", "lws"]
    assert all(f"Reliability of {name}" in Path("all.html").read_text() for name in names)


def test_without_validation_images_the_table_and_the_report_have_one_stage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fields = ["--data.val", "0", "--train.epochs", "2", "--seeds", "0", "--jobs", "1"]
    assert main(["compare", "digits", "--losses", "ce", "ls", *fields]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("as trained") == 2
    assert "temperature" not in captured.out
    assert main(["report", "runs"]) == 0
    page = Path("report.html").read_text()
    assert "Reliability of ls" in page
    assert "no metrics after temperature scaling" in page
    assert "What temperature scaling changes" not in page
