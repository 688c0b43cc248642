"""Dense binary maps: how they are watched in training, and judged in the sizes of their files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import Generator, Tensor

from calibrant.data import DenseData
from calibrant.data.map_set import MapSet
from calibrant.data.map_transforms import saliency_map_from_logits
from calibrant.data.pair_set import MapBatch
from calibrant.metrics.map_scores import MapScores
from calibrant.training.files import replacing
from calibrant.training.judging import fitted_temperature, in_json
from calibrant.training.module import TrainingModule

#: Pixels of each validation image from which a temperature is fitted.
PIXELS = 1000
#: Told of the logits (1, h, w) of an image: its set, its position there.
Sink = Callable[[str, int, Tensor], None]


class DenseModule(TrainingModule):
    """A network that gives one logit a pixel; half and more of a grey label is object."""

    sink: Sink
    sets: Sequence[str]

    def labels_of(self, target: Tensor) -> Tensor:
        """Return (N, H, W) labels of (N, 1, H, W) maps."""
        return (target >= 0.5).long().squeeze(1)

    def predict_step(self, batch: MapBatch, batch_idx: int, dataloader_idx: int = 0) -> None:  # type: ignore[override]
        """Tell of every map."""
        logits = self(batch["image"]).float().cpu()
        for position, map_ in zip(batch["index"].tolist(), logits, strict=True):
            self.sink(self.sets[dataloader_idx], position, map_)


def judge_maps(
    module: DenseModule, data: DenseData, trainer: Trainer, calibrators: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Return the metrics of validation, test and every set of another kind, before and after calibration.

    Maps are resized to their labels before they are measured, and never stretched. Those of the test images
    are kept as 8-bit pictures in `folder`.
    """
    task = data.task
    sets = {
        name: images for name, images in {"val": task.val, "test": task.test, **task.ood}.items() if len(images)
    }
    temperatures = {"none": 1.0}
    fitted: dict[str, Any] = {}
    if "val" in sets and calibrators:
        sample = _Sample(sets["val"])
        _go(module, data, trainer, {"val": sets["val"]}, sample)
        fitted = {"temperature": fitted_temperature(*sample.pixels())}
        temperatures["temperature"] = fitted["temperature"]["temperature"]
    scores = {name: {stage: MapScores() for stage in temperatures} for name in sets}

    def measure(name: str, position: int, logits: Tensor) -> None:
        label = sets[name].label(position)
        for stage, temperature in temperatures.items():
            size = (label.shape[0], label.shape[1])
            shown = saliency_map_from_logits(logits[None] / temperature, size)[0, 0]
            scores[name][stage].add(shown, label)
            if name == "test" and stage == "none":
                _keep(shown, folder / f"{sets[name].names[position]}.png")

    _go(module, data, trainer, sets, measure)
    found = {
        name: {stage: in_json(part.estimates(intervals=name != "val")) for stage, part in stages.items()}
        for name, stages in scores.items()
    }
    return {"metrics": found, "posthoc": fitted}


class _Sample:
    """Pixels drawn from the validation maps, the same in every run."""

    def __init__(self, images: MapSet) -> None:
        self.images = images
        self.logits: list[Tensor] = []
        self.targets: list[Tensor] = []

    def __call__(self, name: str, position: int, logits: Tensor) -> None:
        target = self.images[position]["target"]
        at = torch.randint(target.numel(), (PIXELS,), generator=Generator().manual_seed(position))
        self.logits.append(logits.flatten()[at])
        self.targets.append(target.flatten()[at] >= 0.5)

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Return (N, 2) logits and (N,) labels."""
        logits = torch.cat(self.logits)
        return torch.stack([torch.zeros_like(logits), logits], 1), torch.cat(self.targets).long()


def _go(module: DenseModule, data: DenseData, trainer: Trainer, sets: dict[str, MapSet], sink: Sink) -> None:
    module.sets, module.sink = list(sets), sink
    # The loaders ask it how many processes share them: here none.
    data.trainer = trainer
    trainer.predict(module, [data.plain(images) for images in sets.values()], return_predictions=False)


def _keep(shown: Tensor, path: Path) -> None:
    levels = (shown * 255).round().to(torch.uint8).numpy()
    with replacing(path) as temporary:
        Image.fromarray(np.asarray(levels)).save(temporary, format="png")
