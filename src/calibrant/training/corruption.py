"""A finished run on corrupted test images: accuracy, ECE and NLL by corruption and severity."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from calibrant.data import FileImageData, ImageData
from calibrant.data.corrupted import CorruptedTest, Images
from calibrant.data.corruptions import EXTRA, SEVERITIES, STANDARD, Frost
from calibrant.data.order import EpochOrder
from calibrant.data.worker_errors import ErrorsAsValues, RaisingLoader
from calibrant.errors import InputError
from calibrant.metrics import State
from calibrant.metrics.definitions import DEFINITIONS
from calibrant.posthoc import Calibrator, load_calibrator
from calibrant.training.files import write_text
from calibrant.training.module import TrainingModule
from calibrant.training.recipe import Recipe
from calibrant.training.recipe_files import load_recipe
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import read_data
from calibrant.training.stage import repeatable
from calibrant.training.stages import restore

SCHEMA = 1
METRICS = ("accuracy", "ece", "nll")
#: What stands for images without a corruption, whose severity is 0.
CLEAN = "clean"
#: Metric values by stage of calibration, "none" first.
Values = dict[str, dict[str, float]]
#: Told how many of so many corruptions and severities are done.
Listener = Callable[[int, int], None]


@dataclass(frozen=True)
class CorruptionPlan:
    """Which corrupted images a run is judged on.

    Attributes:
        names: corruptions; None for those of the benchmark that there are.
        severities: out of 1 to 5.
        folder: of a published set; None to make the images.
        images: how many test images; None for all.
        seed: of what is drawn.
        frost: folder of the photographs for "frost"; None to leave it out.
        data: where the data lie, "root", and how many processes read them, "workers", where not as the run did.

    Raises:
        InputError: a severity that there is not, a seed below 0, or photographs of frost for a published set.
    """

    names: Sequence[str] | None = None
    severities: Sequence[int] = SEVERITIES
    folder: Path | None = None
    images: int | None = None
    seed: int = 0
    frost: Path | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for severity in self.severities:
            if severity not in SEVERITIES:
                raise InputError(f"A corruption has the severities 1 to 5, not {severity}.")
        if self.seed < 0:
            raise InputError(f"seed must be at least 0, not {self.seed}.")
        if self.frost is not None and self.folder is not None:
            raise InputError(f"{self.folder} holds images with frost of its own: leave out --frost.")
        # What is named twice counts once.
        object.__setattr__(self, "severities", tuple(dict.fromkeys(self.severities)))
        if self.names is not None:
            object.__setattr__(self, "names", tuple(dict.fromkeys(self.names)))

    def place(self, run: RunFolder) -> Path:
        """Return the file in which a run keeps what it found: of these images, this number and this seed."""
        source = "made" if self.folder is None else f"read-{_called(self.folder)}"
        source += "" if self.frost is None else f"-frost_{_called(self.frost)}"
        return run.path / "corruptions" / f"{source}-{self.images or 'all'}-seed{self.seed}.json"


def _called(folder: Path) -> str:
    """Return the name of a folder with a sign of its place: two sets may be called the same."""
    where = folder.resolve()
    return f"{where.name}-{sha256(str(where).encode()).hexdigest()[:8]}"


class CorruptionResult:
    """What is known of one run, in a file that is whole after every corruption and severity.

    Args:
        path: the file; it need not exist yet.

    Attributes:
        others: whether the corrupted images are other photographs than the clean ones.

    Raises:
        InputError: a file that is damaged.

    Example:
        >>> import tempfile
        >>> result = CorruptionResult(Path(tempfile.mkdtemp()) / "made-all-seed0.json")
        >>> result.note("fog", 3, {"none": {"accuracy": 0.8, "ece": 0.1, "nll": 0.7}})
        >>> CorruptionResult(result.path).values("fog", 3)["none"]["ece"]
        0.1
    """

    def __init__(self, path: Path) -> None:
        self.path, self.others = path, False
        self._found: dict[str, dict[str, Values]] = {}
        if path.is_file():
            try:
                saved = json.loads(path.read_text())
                self._found, self.others = dict(saved["values"]), bool(saved.get("others"))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{path} is damaged ({error!r}); delete it to judge again.") from None

    def values(self, name: str, severity: int) -> Values:
        """Return the metrics by stage, or nothing where they are not known."""
        return self._found.get(name, {}).get(str(severity), {})

    @property
    def names(self) -> list[str]:
        """The corruptions that are known, those of the benchmark first."""
        return [name for name in (*STANDARD, *EXTRA) if name in self._found]

    def note(self, name: str, severity: int, values: Values) -> None:
        """Keep the metrics of a corruption at a severity."""
        self._found.setdefault(name, {})[str(severity)] = values
        saved = {"schema": SCHEMA, "others": self.others, "values": self._found}
        write_text(self.path, json.dumps(saved, indent=1) + "\n")


def judge_corruptions(
    run: RunFolder, plan: CorruptionPlan, listener: Listener | None = None
) -> CorruptionResult:
    """Judge a finished run on corrupted test images; what is known already is not computed again.

    Args:
        run: the run.
        plan: which images.
        listener: told of the progress.

    Raises:
        InputError: no finished run of an image classifier, one that another process writes, or images that are
            not there.
    """
    run.result()
    with run.locked():
        return _judged(run, plan, listener)


def _judged(run: RunFolder, plan: CorruptionPlan, listener: Listener | None) -> CorruptionResult:
    recipe = load_recipe(str(run.recipe_path), {"data": plan.data} if plan.data else {})
    result = CorruptionResult(plan.place(run))
    data = read_data(recipe)
    if not isinstance(data, ImageData | FileImageData):
        raise InputError(
            f"Corrupted images judge classifiers of images, and {run.path} learned {recipe.data.name!r}: "
            "choose other runs."
        )
    frost = None if plan.frost is None else Frost(plan.frost)
    test = CorruptedTest(data.task, plan.folder, plan.images, plan.seed, frost)
    names = plan.names or test.names()
    if not names:
        raise InputError(f"{plan.folder} holds no corruption of the benchmark: name others with --corruptions.")
    wanted = [(name, severity) for name in names for severity in plan.severities]
    # Before any is judged: a name that is wrong should be found at once.
    for name in dict(wanted):
        result.others |= test.others(test.read(name, plan.severities[0]))
    cells = [(name, severity) for name, severity in [(CLEAN, 0), *wanted] if not result.values(name, severity)]
    done = 1 + len(wanted) - len(cells)
    module = restore(recipe, run, data) if cells else None
    stages = calibrators_of(run)
    for name, severity in cells:
        assert module is not None
        images = test.clean() if name == CLEAN else test.read(name, severity)
        result.note(name, severity, _judge(module, data, images, stages, recipe))
        done += 1
        if listener is not None:
            listener(done, 1 + len(wanted))
    return result


def calibrators_of(run: RunFolder) -> dict[str, Calibrator]:
    """Return the calibrators that a run fitted, by name."""
    found = sorted((run.path / "calibrators").glob("*.safetensors"))
    return {path.stem: load_calibrator(path).calibrator for path in found}


def _judge(
    module: TrainingModule,
    data: ImageData | FileImageData,
    images: Images,
    stages: dict[str, Calibrator],
    recipe: Recipe,
) -> Values:
    config = recipe.trainer
    device = torch.device("cuda" if config.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    loader = RaisingLoader(
        ErrorsAsValues(images),
        sampler=EpochOrder(len(images), config.eval_batch_size),
        batch_size=None,
        num_workers=recipe.data.workers,
        generator=Generator(),
    )
    parts = frozenset[str]().union(*(DEFINITIONS[name].parts for name in METRICS))
    classes = max(len(data.class_names), 2)
    states = {stage: State(parts, classes) for stage in ("none", *stages)}
    module.eval().to(device)
    mixed = config.precision == "bf16-mixed"
    with torch.inference_mode(), repeatable():
        for batch in loader:
            moved: Any = {name: value.to(device) for name, value in batch.items()}
            normalised: Any = data.on_after_batch_transfer(moved, 0)
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                logits = module(normalised[module.inputs])
            logits = logits.float().cpu()
            for stage, state in states.items():
                said: Tensor = stages[stage](logits) if stage in stages else logits
                state.update(said, batch["target"].cpu(), inputs="logits")
    return {stage: _values(state) for stage, state in states.items()}


def _values(state: State) -> dict[str, float]:
    found = {}
    for name in METRICS:
        value = DEFINITIONS[name].view(state)
        assert isinstance(value, Tensor)
        found[name] = float(value)
    return found
