"""Networks that answer for every pixel: trained as others, judged image by image in the sizes of the files."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from PIL.Image import Image
from torch import Generator, Tensor

from calibrant.data import DenseData, PairSet
from calibrant.data.pair_set import MapBatch
from calibrant.metrics.over_images import OverImages
from calibrant.posthoc import Calibrator, save_calibrator
from calibrant.training.class_facts import ClassFacts, as_list
from calibrant.training.files import replacing
from calibrant.training.gap_maps import GapMaps
from calibrant.training.image_sums import write_image_sums
from calibrant.training.judging import fit_calibrator, in_json
from calibrant.training.module import TrainingModule
from calibrant.training.run_folder import RunFolder

#: Pixels of each validation image to which calibrators are fitted.
PIXELS = 1000
#: Told of the logits of an image, as the network gave them: its set, its position there.
Sink = Callable[[str, int, Tensor], None]


class MapModule(TrainingModule):
    """A network that gives logits for every pixel; a subclass says what they mean."""

    sink: Sink
    sets: Sequence[str]

    @abstractmethod
    def new_scores(self) -> OverImages:
        """Return scores that have seen nothing."""

    @abstractmethod
    def measure(
        self, scores: OverImages, images: PairSet, position: int, logits: Tensor, calibrator: Calibrator | None
    ) -> Tensor:
        """Add an image to scores, calibrated and in the size of its file; return what was added."""

    @abstractmethod
    def picture(self, said: Tensor) -> Image:
        """Return what `measure` added as the map to be kept."""

    @abstractmethod
    def judged(self, said: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return (H, W) the confidence of what `measure` added, nan where none counts, and what is right."""

    @abstractmethod
    def pixels(self, images: PairSet, position: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return some (n, C) logits of an image, the same in every run, and their (n,) labels."""

    def predict_step(self, batch: MapBatch, batch_idx: int, dataloader_idx: int = 0) -> None:  # type: ignore[override]
        """Tell of every map."""
        logits = self(batch["image"]).float()
        for position, map_ in zip(batch["index"].tolist(), logits, strict=True):
            self.sink(self.sets[dataloader_idx], position, map_)


def judge_maps(
    module: MapModule, data: DenseData, trainer: Trainer, calibrators: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Return the metrics of validation, test and every set of another kind, before and after calibration.

    Images are measured one after the other, in the sizes of their files.

    Args:
        module: the trained network.
        data: the images.
        trainer: makes the predictions.
        calibrators: names; each is fitted to pixels of the validation images.
        folder: of the run: the maps of the test images, before calibration, are kept there as 8-bit pictures in
            predictions/test, what was fitted as calibrators/NAME.safetensors, and where confidence and truth
            part, by `GapMaps`.
    """
    task = data.task
    sets: dict[str, PairSet] = {"val": task.val, "test": task.test, **task.ood}
    sets = {name: images for name, images in sets.items() if len(images)}
    stages: dict[str, Calibrator | None] = {"none": None}
    fitted: dict[str, Any] = {}
    if "val" in sets and calibrators:
        sampled: list[tuple[Tensor, Tensor]] = []

        def sample(name: str, position: int, logits: Tensor) -> None:
            sampled.append(module.pixels(sets[name], position, logits))

        _go(module, data, trainer, {"val": sets["val"]}, sample)
        logits, labels = (torch.cat(parts) for parts in zip(*sampled, strict=True))
        for name in calibrators:
            calibrator, fitted[name] = fit_calibrator(name, logits, labels, data.class_counts.tolist())
            if calibrator is not None:
                save_calibrator(calibrator, folder / "calibrators" / f"{name}.safetensors", data.class_names)
                stages[name] = calibrator
    scores = {name: {stage: module.new_scores() for stage in stages} for name in sets}
    gaps = GapMaps(task.test)

    def measure(name: str, position: int, logits: Tensor) -> None:
        for stage, calibrator in stages.items():
            said = module.measure(scores[name][stage], sets[name], position, logits, calibrator)
            if name != "test":
                continue
            gaps.add(stage, position, *module.judged(said, task.test.label(position)))
            if stage == "none":
                path = folder / "predictions" / "test" / f"{task.test.names[position]}.png"
                with replacing(path) as temporary:
                    module.picture(said).save(temporary, format="png")

    _go(module, data, trainer, sets, measure)
    gaps.write(RunFolder(folder))
    write_image_sums(RunFolder(folder), task.test.names, {s: part.sums() for s, part in scores["test"].items()})
    found = {
        name: {stage: in_json(part.estimates(intervals=name != "val")) for stage, part in parts.items()}
        for name, parts in scores.items()
    }
    return {
        "metrics": found,
        "posthoc": fitted,
        "class_names": data.class_names,
        **as_written({name: parts for name, parts in scores.items() if name != "val"}),
    }


def as_written(scores: Mapping[str, Mapping[str, OverImages]]) -> dict[str, Any]:
    """Return what a page shows of scores, by set and stage, besides the metrics: the bins, and the classes.

    Of other runs the predictions tell these; of maps there are too many.
    """
    return {
        "reliability": {
            name: {stage: _in_lists(part) for stage, part in parts.items()} for name, parts in scores.items()
        },
        "classes": {
            name: {stage: ClassFacts.of(part.pooled).as_json() for stage, part in parts.items()}
            for name, parts in scores.items()
        },
    }


def _in_lists(scores: OverImages) -> dict[str, Any]:
    bins = {name: as_list(values) for name, values in asdict(scores.reliability()).items()}
    return bins | in_json({"gap": scores.gap()})


def drawn(count: int, position: int) -> Tensor:
    """Return (PIXELS,) places out of so many, with replacement: those of an image are the same in every run."""
    return torch.randint(count, (PIXELS,), generator=Generator().manual_seed(position))


def _go(module: MapModule, data: DenseData, trainer: Trainer, sets: dict[str, PairSet], sink: Sink) -> None:
    module.sets, module.sink = list(sets), sink
    # The loaders ask it how many processes share them: here none.
    data.trainer = trainer
    trainer.predict(module, [data.plain(images) for images in sets.values()], return_predictions=False)
