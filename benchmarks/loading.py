"""Time the loading of training batches, ours against a plain torchvision DataLoader, interleaved in one run.

    python benchmarks/loading.py [--cifar ~/data] [--workers 0 2] [--rounds 7] [--images 5000]

CIFAR-10, 32 x 32: batches of 128, padded, cropped, mirrored and normalised. Photographs of 500 x 375 in JPEG
files, which the benchmark writes: batches of 32, a random resized window of 224 pixels, mirrored, normalised.
Photographs with label maps, laid out as PASCAL VOC: batches of 8, the longest side brought to 640 pixels, a
window of 512, mirrored, light and colours each changed in half of the cases, normalised.
Prints images a second, and the ratio of the medians over the rounds. Without --cifar the images are drawn,
which takes the same time.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder, VOCSegmentation, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2
from torchvision.tv_tensors import Image as ImageTensor
from torchvision.tv_tensors import Mask

from calibrant import data
from calibrant.data import DenseData, FileImageData, ImageData, Loading
from calibrant.data.image_set import ImageSet, ImageTask
from calibrant.data.image_views import IMAGENET_MEAN, IMAGENET_STD

#: Images a batch, of CIFAR-10, of photographs, and of photographs with label maps.
SMALL, LARGE, MAPS = 128, 32, 8


class Pictures(Dataset[Any]):
    """CIFAR as torchvision holds it: an array of which each image becomes a picture when it is asked for."""

    def __init__(self, images: ImageSet, transform: Callable[[Image.Image], Tensor]) -> None:
        self.pixels = images.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets, self.transform = images.targets.tolist(), transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.targets[index]


class Training:
    """What a data module asks of a trainer."""

    training, world_size, global_rank, current_epoch = True, 1, 0, 0


def to_tensor(mean: Iterable[float], std: Iterable[float]) -> list[v2.Transform]:
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]


def plain(images: Dataset[Any], workers: int, batch_size: int) -> Callable[[], int]:
    """Return an epoch of a DataLoader as everybody writes it."""
    loader = DataLoader(images, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: sum(len(batch) for batch, _ in loader)


def ours(module: ImageData | FileImageData | DenseData) -> Callable[[], int]:
    """Return an epoch of one of our modules, normalisation included."""
    module.trainer = Training()  # type: ignore[assignment]
    loader = module.train_dataloader()
    return lambda: sum(len(module.on_after_batch_transfer(batch, 0)["image"]) for batch in loader)


def write_photographs(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    for i in range(count):
        path = folder / ("train" if i >= 8 else "test") / f"class{i % 4}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(random).save(path, quality=90)


def photograph(random: np.random.Generator) -> Image.Image:
    coarse = random.integers(0, 256, (25, 34, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)


def write_voc(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    names = [f"{i:06d}" for i in range(count)]
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    for name in names:
        photograph(random).save(folder / "JPEGImages" / f"{name}.jpg", quality=90)
        label = Image.fromarray(random.integers(0, 21, (4, 5), dtype=np.uint8))
        label.resize((500, 375), Image.Resampling.NEAREST).save(folder / "SegmentationClass" / f"{name}.png")
    for part, chosen in (("train", names[8:]), ("val", names[:8])):
        (folder / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("\n".join(chosen) + "\n")


def plain_maps(root: Path, workers: int) -> Callable[[], int]:
    """Return an epoch of torchvision's reader of PASCAL VOC with the same augmentation."""
    steps = v2.Compose(
        [
            v2.Resize(None, max_size=640),
            v2.RandomCrop(512, pad_if_needed=True, fill={ImageTensor: 0, Image.Image: 0, Mask: 255}),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(brightness=0.3, contrast=0.3)]),
            v2.RandomApply([v2.ColorJitter(saturation=0.12, hue=20 / 360)]),
            v2.ToImage(),
            v2.ToDtype({ImageTensor: torch.float32, Mask: torch.int64, "others": None}, scale=True),
            v2.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD)),
        ]
    )
    pairs = VOCSegmentation(str(root), image_set="train", transforms=steps)
    return plain(wrap_dataset_for_transforms_v2(pairs), workers, MAPS)


def drawn(count: int) -> ImageTask:
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    images = ImageSet(pixels, torch.randint(10, (count,)), torch.arange(count))
    return ImageTask(images, images, images, [str(c) for c in range(10)], [125.3] * 3, [51.6] * 3)


def compare(title: str, contestants: dict[str, Callable[[], int]], rounds: int) -> None:
    """Print images a second of each, and the ratio of its median time to that of the first."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, epoch in contestants.items():
            start = time.perf_counter()
            count = epoch()
            # The first round starts the workers.
            if round_:
                times[name].append((time.perf_counter() - start) / count)
    base = statistics.median(times[next(iter(times))])
    print(f"{title}:")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"  {name:24}{1 / median:10,.0f} images/s  {base / median:6.2f} x")


def small(args: argparse.Namespace) -> None:
    task = data.create("cifar10", root=args.cifar, train=args.images) if args.cifar else drawn(args.images)
    mean, std = ([value / 255 for value in values] for values in (task.mean, task.std))
    steps = v2.Compose([v2.RandomCrop(32, 4), v2.RandomHorizontalFlip(), *to_tensor(mean, std)])
    pictures = Pictures(task.train, steps)
    contestants = {f"torchvision, {w} workers": plain(pictures, w, SMALL) for w in args.workers}
    contestants["Calibrant, in memory"] = ours(ImageData(task, Loading(batch_size=SMALL)))
    compare(f"CIFAR-10, {len(task.train):,} images", contestants, args.rounds)


def photographs(args: argparse.Namespace, folder: Path) -> None:
    write_photographs(folder, args.photographs)
    steps = v2.Compose(
        [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *to_tensor(IMAGENET_MEAN, IMAGENET_STD)]
    )
    for workers in args.workers:
        theirs = ImageFolder(str(folder / "train"), steps)
        files = data.create("image_folder", root=folder, val=4)
        module = FileImageData(files, Loading(batch_size=LARGE), workers=workers)
        pair = {"torchvision": plain(theirs, workers, LARGE), "Calibrant": ours(module)}
        compare(f"Photographs in files, {workers} workers", pair, args.rounds)


def label_maps(args: argparse.Namespace, folder: Path) -> None:
    write_voc(folder / "VOCdevkit" / "VOC2012", args.maps)
    for workers in args.workers:
        task = data.create("voc", root=folder, val_list="val")
        module = DenseData(task, Loading(batch_size=MAPS), workers=workers)
        pair = {"torchvision": plain_maps(folder, workers), "Calibrant": ours(module)}
        compare(f"Photographs with label maps, {workers} workers", pair, args.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", help="folder of CIFAR-10")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=5000, help="images of CIFAR-10")
    parser.add_argument("--photographs", type=int, default=264, help="photographs, 8 of them unused")
    parser.add_argument("--maps", type=int, default=72, help="photographs with label maps, 8 of them unused")
    args = parser.parse_args()
    torch.set_num_threads(1)
    small(args)
    for measure in (photographs, label_maps):
        with tempfile.TemporaryDirectory() as name:
            measure(args, Path(name))


if __name__ == "__main__":
    main()
