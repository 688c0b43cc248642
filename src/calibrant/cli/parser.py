"""The options of every command, and one sentence for each that is wrong."""

import re
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

from calibrant import __version__
from calibrant.errors import InputError, nearest
from calibrant.training.recipe import Recipe
from calibrant.training.recipe_files import one_line

Options = dict[str, Any]
#: A command returns the status with which the process ends, None for 0.
Command = Callable[[Options], int | None]
KINDS = ("losses", "metrics", "calibrators", "recipes", "data", "models", "corruptions")


class _Help(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Help that keeps the lines of an example."""


def parse(arguments: list[str]) -> tuple[Command, Options]:
    """Return the command that the arguments name, and those of its options that were given.

    Raises:
        InputError: the arguments cannot be understood.
    """
    parser, commands = _build()
    # A field of a dataclass cannot be called "from".
    arguments = [re.sub(r"^--decouple\.from(?=$|=)", "--decouple.from_run", text) for text in arguments]
    if not arguments:
        parser.print_help()
        raise SystemExit(2)
    try:
        given = parser.parse_args(arguments, defaults=False).as_dict()
    except ArgumentError as error:
        raise InputError(_sentence(str(error), arguments, commands)) from None
    name = given["command"]
    # A module called list would hide the built-in one from its package.
    module = import_module(f"calibrant.cli.{'listing' if name == 'list' else name}")
    execute: Command = module.execute
    return execute, given.get(name) or {}


@cache
def _build() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    commands = {
        "run": (_run(), "train one recipe"),
        "compare": (_compare(), "train a recipe with several losses and seeds, and tabulate"),
        "evaluate": (_evaluate(), "judge predictions that anything made: can they be trusted?"),
        "calibrate": (_calibrate(), "mend the confidences of predictions, and see what that changes"),
        "apply": (_apply(), "mend other predictions of the same model"),
        "export": (_export(), "write the network of a run, calibrator folded in, for other programs"),
        "corrupt": (_corrupt(), "judge finished runs on corrupted test images"),
        "explain": (_explain(), "show the targets that losses imply, or where a run was regularised"),
        "report": (_report(), "write the HTML page of finished runs"),
        "list": (_list(), "show what there is, by name"),
    }
    parser = ArgumentParser(
        prog="calibrant",
        description="Train neural networks whose confidence can be trusted, and measure whether it can.",
        epilog="Example: calibrant compare digits",
        exit_on_error=False,
        allow_abbrev=False,
        version=__version__,
        formatter_class=_Help,
    )
    sub = parser.add_subcommands(dest="command", title="commands", description=None, metavar="COMMAND")
    for name, (command, text) in commands.items():
        sub.add_subcommand(name, command, help=text)
    return parser, {name: command for name, (command, _) in commands.items()}


def _command(description: str, usage: str, example: str) -> ArgumentParser:
    return ArgumentParser(
        description=description,
        epilog=f"Example:\n  {example}",
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=_Help,
        usage=usage,
    )


def _run() -> ArgumentParser:
    parser = _command(
        "Train one recipe, calibrate and measure. A run that was interrupted goes on; a finished one is shown.",
        "calibrant run RECIPE [--folder DIR] [--FIELD VALUE …]",
        "calibrant run cifar10/mbls --model.name resnet32 --train.epochs 3 --data.root ~/data",
    )
    parser.add_argument("recipe", type=str, help="name of a recipe (calibrant list recipes), or PATH.yaml")
    parser.add_argument("--folder", type=str, help="folder of the run; runs/RECIPE/LOSS/seedN by default")
    parser.add_class_arguments(Recipe, skip={"losses", "seeds"})
    return parser


def _compare() -> ArgumentParser:
    parser = _command(
        "Train a recipe with several losses and seeds side by side, or several recipes of the same data; print "
        "the table and write the report. What is finished is skipped, what was interrupted goes on. Recipes of "
        "two stages that share the first train it once.",
        "calibrant compare RECIPE … [--losses LOSS …] [--seeds SEED …] [--FIELD VALUE …]",
        "calibrant compare cifar10/ce --losses ce ls mbls:margin=6 mbls:margin=10 --seeds 0 1 2",
    )
    parser.add_argument(
        "recipes", type=str, nargs="+", help="names of recipes (calibrant list recipes), or PATH.yaml"
    )
    parser.add_argument("--losses", type=str, nargs="+", help="losses, each as NAME or NAME:OPTION=VALUE,…")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds; those that the recipe names by default")
    parser.add_argument("--jobs", type=int, help="runs at a time; as many as cores by default, one on a GPU")
    parser.add_argument("--runs", type=str, default="runs", help="folder of all runs")
    parser.add_class_arguments(Recipe, skip={"losses", "seeds", "seed"})
    return parser


def _evaluate() -> ArgumentParser:
    parser = _command(
        "Judge predictions in files: npz, npy, safetensors, CSV, TSV, parquet, a folder of npy files, of maps, "
        "or of a run. Names say what is what: logits, probs, proba_0 … hold values; targets, labels, label, y, "
        "y_true hold labels. Several files on the same labels are tested in pairs against the first.",
        "calibrant evaluate PREDICTIONS … [--inputs logits|probs] [--columns NAME …] [--label NAME] "
        "[--out FILE]",
        "calibrant evaluate predictions.csv --out report.html --fail-above ece=0.05",
    )
    parser.add_argument("predictions", type=str, nargs="+", help="files or folders of predictions")
    _add_reading(parser)
    parser.add_argument("--bins", type=int, default=15, help="number of bins")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--out", type=str, help="also write a self-contained HTML page")
    parser.add_argument(
        "--fail-above",
        type=str,
        action="append",
        metavar="METRIC=NUMBER",
        help="exit with status 1 where a metric is larger, such as ece=0.05; may be given several times",
    )
    return parser


def _add_reading(parser: ArgumentParser) -> None:
    """Add what says how files of predictions are read."""
    parser.add_argument(
        "--inputs", choices=["logits", "probs"], help="what the values are, where no name says it"
    )
    parser.add_argument(
        "--columns", type=str, nargs="+", help="names of the columns, or of the one array, of the values"
    )
    parser.add_argument(
        "--label", type=str, help="name of the column or array of the labels; npy, maps: their file or folder"
    )
    parser.add_argument("--ignore-index", type=int, nargs="+", help="labels that count nowhere, such as 255")


def _calibrate() -> ArgumentParser:
    parser = _command(
        "Fit a calibrator to held-out predictions, such as those of validation, and show every metric before "
        "and after: on a test file, or by cross-validation. Files are read as evaluate reads them; the values "
        "of probabilities are taken as logits by their logarithm. auto chooses the method by cross-validated "
        "NLL, no calibration included. Labels that do not count neither fit nor are judged.",
        "calibrant calibrate PREDICTIONS [--method NAME] [--out FILE] [--test PREDICTIONS]",
        "calibrant calibrate val.npz --method temperature --test test.npz --out calibrator.safetensors",
    )
    parser.add_argument("predictions", type=str, help="file or folder of predictions to fit to")
    parser.add_argument(
        "--method",
        type=str,
        default="auto",
        help="calibrator (calibrant list calibrators), as NAME or NAME:OPTION=VALUE,…; "
        "conformal:confidence=0.9 for sets of classes that hold the label so often",
    )
    parser.add_argument("--test", type=str, help="predictions to judge; by default those fitted to, in folds")
    parser.add_argument("--out", type=str, help="write the calibrator there (safetensors)")
    parser.add_argument(
        "--class-counts", type=int, nargs="+", help="training samples of each class, for methods of long tails"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    _add_reading(parser)
    return parser


def _apply() -> ArgumentParser:
    parser = _command(
        "Mend predictions by a calibrator that calibrate wrote; they need no labels. The result holds logits "
        "where the file holds logits, and probabilities where it holds these; with conformal sets, these as "
        "they were, sets and set_sizes.",
        "calibrant apply CALIBRATOR PREDICTIONS --out FILE",
        "calibrant apply calibrator.safetensors test.npz --out calibrated.npz",
    )
    parser.add_argument("calibrator", type=str, help="file that calibrate wrote")
    parser.add_argument("predictions", type=str, help="file or folder of predictions")
    parser.add_argument("--out", type=str, required=True, help="file to write: .npz or .safetensors")
    _add_reading(parser)
    return parser


def _explain() -> ArgumentParser:
    parser = _command(
        "Show the target that each loss implies, on which cross-entropy trains as the loss does: in closed "
        "form, as a function of the logit, and whether it is conditional and adaptive. Or, of finished runs, "
        "where the regulariser was active: the share of the samples and of their classes, in each epoch.",
        "calibrant explain [LOSS … | RUN …] [--out FILE]",
        "calibrant explain ls mbls:margin=6 acls --out losses.html",
    )
    parser.add_argument(
        "what",
        type=str,
        nargs="*",
        help="losses, each as NAME or NAME:OPTION=VALUE,…, or all; eight familiar ones by default; or folders "
        "of runs",
    )
    parser.add_argument("--out", type=str, help="also write a page (.html) or the figure (.svg, .png, .pdf)")
    parser.add_argument("--json", action="store_true", help="print JSON, with the curves, instead of a table")
    parser.add_argument("--classes", type=int, help="number of classes; 10 by default")
    parser.add_argument(
        "--upto", type=float, help="the largest logit; 20 by default, or twice the largest margin"
    )
    parser.add_argument(
        "--class-counts", type=int, nargs="+", help="training samples of each class; a long tail by default"
    )
    return parser


def _report() -> ArgumentParser:
    parser = _command(
        "Write one self-contained HTML page with table and diagrams, from the files of finished runs alone.",
        "calibrant report RUNS … [--out FILE] [--figures DIR]",
        "calibrant report runs/digits --out digits.html",
    )
    parser.add_argument("paths", type=str, nargs="+", help="folders that hold runs, at any depth")
    parser.add_argument("--out", type=str, default="report.html", help="the page")
    parser.add_argument("--figures", type=str, help="also write the figures there, as PNG, SVG and PDF")
    return parser


def _export() -> ArgumentParser:
    parser = _command(
        "Write the network of a finished run for other programs, with the normalisation of its images and its "
        "calibrator folded in: ONNX, and torch.export (.pt2). It gives calibrated probs, and logits, for "
        "batches of any size; names of classes, calibrator and input are in the metadata. Each file is checked "
        "against PyTorch on the test set of the run before it is put in place.",
        "calibrant export RUN [--out DIR] [--format onnx torch] [--calibrator NAME|FILE]",
        "calibrant export runs/digits/ce/seed0 --out deployed",
    )
    parser.add_argument("run", type=str, help="folder of a finished run")
    parser.add_argument("--out", type=str, help="folder of the files; RUN/export by default")
    parser.add_argument(
        "--format", choices=["onnx", "torch"], nargs="+", default=["onnx", "torch"], help="what is written"
    )
    parser.add_argument(
        "--calibrator",
        type=str,
        help="that of the run's recipe by default; its name where there are several, a file that calibrate "
        "wrote, or none",
    )
    parser.add_argument("--data.root", type=str, help="folder of the data sets, where they moved")
    parser.add_argument(
        "--samples", type=int, help="test samples that are checked, evenly spaced; all by default"
    )
    return parser


def _corrupt() -> ArgumentParser:
    parser = _command(
        "Judge finished runs on corrupted test images, made on the fly with the published strengths or read "
        "from a published set: accuracy, ECE and NLL by corruption and severity, before and after temperature "
        "scaling; a table, and a figure of ECE against severity. What is known is not computed again.",
        "calibrant corrupt RUNS … [--corruptions NAME …] [--severities 1 … 5] [--corrupted DIR] [--out DIR]",
        "calibrant corrupt runs/cifar10-ce --corruptions gaussian_noise motion_blur fog --images 2000",
    )
    parser.add_argument("paths", type=str, nargs="+", help="folders that hold runs, at any depth")
    parser.add_argument(
        "--corruptions",
        type=str,
        nargs="+",
        help="which; those of the benchmark by default",
    )
    parser.add_argument("--severities", type=int, nargs="+", help="out of 1 to 5; all by default")
    parser.add_argument(
        "--corrupted", type=str, help="folder of CIFAR-10-C, CIFAR-100-C, Tiny-ImageNet-C or ImageNet-C"
    )
    parser.add_argument(
        "--frost",
        type=str,
        help="folder of photographs of frost; those of the package imagecorruptions, say",
    )
    parser.add_argument("--images", type=int, help="how many test images, drawn by the seed; all by default")
    parser.add_argument("--seed", type=int, help="seed of what is drawn; 0 by default")
    parser.add_argument("--data.root", type=str, help="folder of the data sets, where they moved")
    parser.add_argument("--data.workers", type=int, help="processes that read and corrupt images")
    parser.add_argument("--out", type=str, default="corruption", help="folder of the table and the figure")
    return parser


def _list() -> ArgumentParser:
    parser = _command(
        "Show what there is, by name, with one line on each.", "calibrant list KIND", "calibrant list losses"
    )
    parser.add_argument("kind", choices=KINDS, help="what to show")
    return parser


def _sentence(message: str, arguments: list[str], commands: dict[str, ArgumentParser]) -> str:
    """Make one sentence of an error of jsonargparse, with the nearest thing that is known."""
    unknown = re.search(r"[Uu]nrecognized arguments: (\S+)", message)
    if unknown:
        option = unknown[1].split("=")[0]
        command = next((commands[word] for word in arguments if word in commands), None)
        known = [text for action in command._actions for text in action.option_strings] if command else []
        near = get_close_matches(option, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "calibrant COMMAND --help shows all."
        return f"There is no option {option}; {hint}"
    missing = re.search(r"arguments are required: (?:\w+\.)?(\w+)", message)
    if missing:
        return (
            f"calibrant {arguments[0]} needs a {missing[1]}; calibrant {arguments[0]} --help shows an example."
        )
    choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
    if choice:
        known = re.findall(r"[\w-]+", choice[2])
        return f"There is no {choice[1]!r}; {nearest(choice[1], known)}"
    return one_line(message)
