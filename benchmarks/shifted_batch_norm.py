"""What the images that batch norm's statistics come from do to the classifier of a finished first stage.

    python benchmarks/shifted_batch_norm.py RUN [--root FOLDER]

RUN is a run on in-memory images, such as `cifar10_lt/mixup`. Its running statistics are estimated anew on its
training images in their own proportions, on as many of each class, and on its test images; nothing is trained.
Prints accuracy on test, over all classes and over the many-, medium- and few-shot ones, in per cent.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from calibrant.data.augment import normalise
from calibrant.data.image_set import ImageSet, ImageTask
from calibrant.metrics import evaluate
from calibrant.training.recipe_files import load_recipe
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import read_data
from calibrant.training.stages import restore

BATCH, BATCHES = 128, 100


def drawn(task: ImageTask, images: ImageSet, weights: Tensor) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(BATCHES):
        rows = torch.multinomial(weights, BATCH, replacement=True, generator=generator)
        yield normalise(images.images[rows], task.mean, task.std)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--root", type=Path, help="where the data lie; default: as in the run")
    args = parser.parse_args()
    run = RunFolder(args.run)
    recipe = load_recipe(str(run.recipe_path), {"data": {"root": str(args.root)}} if args.root else None)
    data = read_data(recipe)
    network, task = restore(recipe, run, data).network, data.task
    even = torch.ones(len(task.train.targets))
    sources = {
        "as trained": None,
        "training images, own proportions": (task.train, even),
        "training images, classes in equal numbers": (task.train, even / task.class_counts[task.train.targets]),
        "test images": (task.test, torch.ones(len(task.test.targets))),
    }
    print(f"{'statistics of':42}{'accuracy':>9}{'many':>7}{'medium':>8}{'few':>7}")
    for name, source in sources.items():
        if source is not None:
            update_bn(drawn(task, *source), network)
            network.eval()
        with torch.no_grad():
            batches = task.test.images.split(500)
            logits = torch.cat([network(normalise(images, task.mean, task.std)) for images in batches])
        found = evaluate(
            logits,
            task.test.targets,
            inputs="logits",
            class_counts=task.class_counts.tolist(),
            groups=task.groups or "counts",
            intervals=False,
        )
        shown = [100 * found[key].value for key in ("accuracy", "many", "medium", "few")]
        print("{:42}{:9.2f}{:7.1f}{:8.1f}{:7.1f}".format(name, *shown), flush=True)


if __name__ == "__main__":
    main()
