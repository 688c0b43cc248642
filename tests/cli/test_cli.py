"""The commands: messages in this process, and a few in processes of their own."""

import json
import subprocess
import sys

import pytest

from calibrant.cli import main
from calibrant.training.recipe_files import list_recipes


def say(capsys, *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["run", "digits", "--train.epoch", "3"],
            "There is no option --train.epoch; did you mean --train.epochs?",
        ),
        (["run", "digits", "--train.epochs", "few"], "train.epochs must be int, not 'few'."),
        (["compare", "digits", "--seeds", "0,1"], "Each element of seeds must be int, not '0,1'."),
        (["run", "digits", "--trainer.threads", "two"], "trainer.threads must be int or null, not 'two'."),
        (["run", "digits", "--train.epochs"], "train.epochs"),
        (["run", "digit"], "There is no recipe 'digit'; did you mean 'digits'?"),
        (["run"], "calibrant run needs a recipe; calibrant run --help shows an example."),
        (["rnu", "digits"], "There is no 'rnu'; did you mean 'run'?"),
        (["list", "loss"], "There is no 'loss'; did you mean 'losses'?"),
        (["compare", "digits", "--losses", "mbsl"], "There is no loss 'mbsl'; did you mean 'mbls'?"),
        (["compare", "digits", "--losses", "mbls:margni=3"], "no option 'margni'; did you mean 'margin'?"),
        (["compare", "digits", "--losses", "mbls:margin"], "no value for 'margin'"),
        (["compare", "digits", "--losses", "mbls:margin=abc"], "takes a number as margin, not 'abc'."),
        (["compare", "digits", "--seeds", "one"], "seeds"),
        (["run", "digits", "--train.batch_size", "0"], "train.batch_size must be at least 1, not 0."),
        (["run", "cifar10/ce", "--data.root", "nowhere"], "data.download to true."),
        (["run", "digits", "--model.name", "resnet23"], "There is no model 'resnet23'; did you mean 'resnet"),
        (["run", "nothing.yaml"], "There is no recipe file 'nothing.yaml'."),
        (["report", "nowhere"], "nowhere holds no finished run"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = say(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("calibrant: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    "command", ["run", "compare", "evaluate", "calibrate", "apply", "corrupt", "report", "list"]
)
def test_help_ends_with_an_example(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: calibrant {command} ")
    assert out.rstrip().split("\n")[-1].startswith(f"  calibrant {command} ")


def test_without_a_command_the_help_is_shown(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "compare" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("losses", ["ce", "mbls", "acls"]),
        ("metrics", ["ece", "aece"]),
        ("recipes", list_recipes()),
        ("data", ["digits", "cifar10", "cifar100"]),
        (
            "models",
            [
                "digits_cnn",
                "resnet32",
                "resnet50_cifar",
                "timm:NAME",
                "hf:FOLDER",
                "aslp",
                "smp:ARCHITECTURE/ENCODER",
            ],
        ),
        ("corruptions", ["gaussian_noise", "elastic_transform", "spatter"]),
    ],
)
def test_a_list_is_one_line_for_each_name(capsys, kind, names):
    status, out, _ = say(capsys, "list", kind)
    assert status == 0
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert set(names) <= set(lines)
    assert all(len(text) > 5 for text in lines.values())


def test_a_run_is_trained_shown_and_reported_by_the_commands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "run",
        "digits",
        "--train.epochs",
        "2",
        "--train.loss.name",
        "mbls",
        "--train.loss.args.margin",
        "3",
    ]
    status, out, err = say(capsys, *arguments)
    assert (status, err) == (0, "")
    assert "mbls:margin=3" in out
    assert "The run is in runs/digits/mbls-margin=3/seed0" in out
    status, again, _ = say(capsys, *arguments)
    assert status == 0
    assert again.splitlines()[-1] == out.splitlines()[-1]
    status, _, err = say(capsys, *arguments, "--train.batch_size", "20")
    assert status == 2
    assert "another recipe (train.batch_size 50, not 20)" in err
    status, out, _ = say(capsys, "report", "runs", "--out", "page.html")
    assert status == 0
    assert "page.html" in out
    assert "mbls" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("joined", [False, True])
def test_a_second_stage_starts_from_a_finished_run(capsys, tmp_path, monkeypatch, joined):
    monkeypatch.chdir(tmp_path)
    short = ["run", "digits", "--train.epochs", "1"]
    assert say(capsys, *short)[0] == 0
    first = "runs/digits/ce/seed0"
    source = [f"--decouple.from={first}"] if joined else ["--decouple.from", first]
    second = [*short, "--decouple.method", "lws", "--decouple.epochs", "1", *source]
    status, out, err = say(capsys, *second, "--folder", "second")
    assert (status, err) == (0, "")
    result = json.loads((tmp_path / "second" / "result.json").read_text())
    assert result["first_stage"]["run"] == first
    assert [path.name for path in (tmp_path / "second").glob("metrics*.csv")] == ["metrics-decouple.csv"]
    assert "The run is in second" in out


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_help_and_the_list_of_losses_load_neither_trainer_nor_plots():
    heavy = "{'lightning', 'torchvision', 'timm', 'sklearn', 'matplotlib', 'torchmetrics'}"
    code = f"""
import sys
from calibrant.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
assert "torch" not in sys.modules
main(["list", "losses"])
print("loaded", sorted({heavy} & set(sys.modules)))
"""
    assert python(code).splitlines()[-1] == "loaded []"


def test_a_process_ends_with_status_2_and_no_traceback_for_a_mistake_but_shows_its_own_errors():
    done = subprocess.run(
        [sys.executable, "-m", "calibrant.cli", "run", "digitz"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    sentence = "There is no recipe 'digitz'; did you mean 'digits'? (A file of your own: PATH.yaml.)"
    assert done.stderr == f"calibrant: {sentence}\n"


def test_an_error_of_our_own_is_not_hidden(monkeypatch):
    def broken(options):
        raise RuntimeError("ours")

    monkeypatch.setattr("calibrant.cli.listing.execute", broken)
    with pytest.raises(RuntimeError, match="ours"):
        main(["list", "losses"])


def test_a_file_in_the_place_of_a_folder_is_one_sentence(capsys, tmp_path):
    (tmp_path / "said.csv").write_text("logit_0,logit_1,label\n1,0,0\n0,1,1\n2,0,1\n")
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "t.safetensors"
    assert main(["calibrate", str(tmp_path / "said.csv"), "--method", "temperature", "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert err.endswith(f"calibrant: {tmp_path / 'file'} cannot be read or written: File exists.\n")


def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-m", "calibrant.cli", "list", "losses"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        listing.stdout.close()
        assert listing.stderr.read() == b""
    assert listing.returncode == 141
