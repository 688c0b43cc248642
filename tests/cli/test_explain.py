"""`calibrant explain`: tables, files, and one sentence for each mistake."""

import csv
import json
from pathlib import Path

import pytest

from calibrant.cli import main
from calibrant.losses import create
from calibrant.losses.explanation import explain
from calibrant.report.smoothing import smoothing_figure
from calibrant.report.style import looks
from calibrant.training.run_folder import RunFolder


def say(capsys, *arguments: str) -> tuple[int, str, str]:
    status = main(["explain", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def make_run(folder: Path, loss: dict[str, object], shares: list[float] | None, seed: int = 0) -> Path:
    """Write the files of a finished run, with what it tells of its regulariser."""
    run = RunFolder(folder)
    run.path.mkdir(parents=True)
    with run.history_path.open("w", newline="") as file:
        writer = csv.writer(file)
        if shares is None:
            writer.writerows([["epoch", "train_loss"], [0, 1.5]])
        else:
            writer.writerow(["epoch", "train_loss", "active_samples", "active_classes"])
            writer.writerows([e, 1.0, share, share / 2] for e, share in enumerate(shares))
    data = {"classes": 3, "class_counts": [9, 9, 9], "train": 27}
    method = f"{loss['name']}"
    run.write_result(
        {"recipe": "toy", "method": method, "loss": loss, "seed": seed, "data": data, "metrics": {}}
    )
    return folder


def test_the_table_tells_of_each_loss_what_its_curves_say(capsys):
    status, out, err = say(capsys, "ce", "ls:alpha=0.1", "mbls:margin=6", "acls", "las")
    assert (status, err) == (0, "")
    words = " ".join(out.split())
    assert "ls:alpha=0.1 (1 − α) y + α/C no no smooths, by 0.09 throughout" in words
    assert "mbls:margin=6 y + (α/C) ([d > M] − V h)" in words
    assert "yes yes smooths beyond 10, 2 at 20 and growing" in words
    assert "ce y – – none up to a logit of 20" in words
    assert "The predicted class has 1,000 training samples, the label of a wrong prediction 10." in words
    assert "p_y: the probability of the label" in words


@pytest.mark.parametrize("loss", ["acls:margin=25", "acls:neg_margin=25"])
def test_the_range_reaches_beyond_every_margin(capsys, loss):
    _, out, _ = say(capsys, loss, "--json")
    assert json.loads(out)["upto"] == 50.0


def test_json_holds_the_curves_and_a_range_that_reaches_beyond_the_margin(capsys):
    status, out, _ = say(capsys, "mbls:margin=15", "--json", "--classes", "4")
    told = json.loads(out)
    assert (status, told["classes"], told["upto"]) == (0, 4, 30.0)
    (loss,) = told["losses"]
    assert (loss["conditional"], loss["adaptive"]) == (True, False)
    assert loss["logit"][-1] == 30.0
    assert loss["change"]["right_predicted"][-1] == pytest.approx(-0.1 * 3 / 4)
    assert set(loss["change"]) == {
        "right_predicted", "right_other", "wrong_predicted", "wrong_label", "wrong_other"
    }  # fmt: skip


def test_the_page_is_one_file_with_the_figure_and_the_table_and_the_figure_a_file_of_its_own(capsys, tmp_path):
    page, picture = tmp_path / "losses.html", tmp_path / "losses.svg"
    status, out, _ = say(capsys, "mbls:margin=6", "binary_ls", "--out", str(page))
    text = page.read_text()
    assert status == 0
    assert out.endswith(f"Page: {page}\n")
    assert text.count("<svg") == 1
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert '<th scope="row">mbls:margin=6</th><td>y + (α/C) ([d &gt; M] − V h)' in text
    assert "wrong: another class" in text
    assert say(capsys, "binary_ls", "--out", str(picture))[0] == 0
    assert "wrong: another class" not in picture.read_text()
    assert "wrong: label" in picture.read_text()


def test_a_figure_shows_every_loss_and_a_scale_on_which_the_smallest_is_seen():
    explained = [explain(create(name), name) for name in ("ce", "ls", "acls")]
    figure = smoothing_figure(explained, looks(["ce", "ls", "acls"]), "three").figure
    first, second = figure.axes[0], figure.axes[1]
    # Each loss and the line of zero; label smoothing is forty times smaller than ACLS at its end.
    assert len(first.lines) == 4
    assert (first.get_yscale(), second.get_yscale()) == ("symlog", "linear")
    low, high = first.get_ylim()
    assert low < -2.0
    assert high > 0
    assert min(first.lines[3].get_ydata()) == pytest.approx(-2.0)


def test_a_run_is_told_epoch_by_epoch_and_several_by_their_ends(capsys, tmp_path):
    mbls = {"name": "mbls", "args": {"margin": 6}}
    make_run(tmp_path / "runs" / "a", mbls, [0.0, 0.5, 0.25])
    status, out, _ = say(capsys, str(tmp_path / "runs" / "a"))
    assert status == 0
    assert [line.split() for line in out.splitlines() if line.split()[:1] in (["1"], ["2"], ["3"])] == [
        ["1", "0.0", "%", "0.0", "%"],
        ["2", "50.0", "%", "25.0", "%"],
        ["3", "25.0", "%", "12.5", "%"],
    ]
    make_run(tmp_path / "runs" / "b", mbls, [0.125], seed=1)
    make_run(tmp_path / "runs" / "c", {"name": "focal", "args": {}}, None)
    page = tmp_path / "page.html"
    status, out, err = say(capsys, str(tmp_path / "runs"), "--out", str(page))
    assert status == 0
    assert "0.0 to 25.0 %, 50.0 %" in " ".join(out.split())
    assert "<svg" in page.read_text()
    assert err.strip().endswith("the loss 'focal' has no condition, and treats every sample alike.")
    status, out, _ = say(capsys, str(tmp_path / "runs" / "a"), "--json")
    assert json.loads(out)["runs"][0]["active_samples"] == [0.0, 0.5, 0.25]


def test_the_help_ends_with_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["explain", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: calibrant explain [LOSS … | RUN …]")
    assert out.rstrip().endswith("calibrant explain ls mbls:margin=6 acls --out losses.html")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mbsl"], "There is no loss 'mbsl'; did you mean 'mbls'?"),
        (["mbls:margni=3"], "no option 'margni'; did you mean 'margin'?"),
        (["mbls:margin"], "no value for 'margin'"),
        (["mbls:margin=wide"], "The loss 'mbls' takes a number as margin, not 'wide'."),
        (["mbls:margin=["], "has a value that cannot be read, '['"),
        (["focal:gamma=.nan"], "gamma must be at least 0, not nan"),
        (["cals:num_classes=4"], "say how many with --classes"),
        (["runs/none"], "There is no folder 'runs/none'"),
        (["empty"], "empty holds no finished run"),
        (["old"], "it was trained before that was written down; delete the folder and run it again."),
        (["ls", "old"], "'old' is a folder of runs and 'ls' a loss: explain one kind at a time."),
        (["old", "--classes", "4"], "--classes is for losses"),
        (["ls", "--out", "ls.txt"], "written as .html, .svg, .png, .pdf, not as 'ls.txt'"),
        (["all", "--out", "all.png"], "A figure shows up to 12 losses"),
        (["ls", "--classes", "2"], "need 3 classes or more, not 2"),
        (["ls", "--classes", "3", "--class-counts", "1", "2"], "lists 2 classes, and --classes says 3"),
        (["ls", "--upto", "0"], "above 0"),
    ],
)
def test_a_mistake_is_one_sentence(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "old", {"name": "mbls", "args": {"margin": 6}}, None)
    status, out, err = say(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("calibrant: ")
    assert err.count("\n") == 1
    assert said in err
