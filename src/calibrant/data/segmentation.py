"""Semantic segmentation: PASCAL VOC 2012, Cityscapes, and any pair of folders with images and label maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from torchvision.datasets.voc import DATASET_YEAR_DICT

from calibrant.data.dense import SegmentationTask
from calibrant.data.downloads import fetch_archive
from calibrant.data.label_set import LabelSet
from calibrant.data.label_transforms import LabelTransforms
from calibrant.data.lists import lines_of
from calibrant.data.pair_set import Pair, held_out, pairs_of, refuse_shared, some, without
from calibrant.data.pictures import is_litter
from calibrant.data.registry import register
from calibrant.errors import InputError

VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
#: What part of the training images of VOC is held out: 293 of 1,464, as many as CALS does.
VOC_HELD_OUT = 0.2
#: The 19 classes that Cityscapes judges, and their numbers among its 34.
CITYSCAPES = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26,
    "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
CLASSES_FILE = "classes.txt"


class MapOptions(TypedDict, total=False):
    """How images with label maps are read, and how many.

    Attributes:
        longest: longest side of a training image, in pixels.
        crop: side of the square that is cut out of it.
        scale: least and largest factor of the longest side.
        jitter: largest change of contrast and brightness.
        window: height and width that an image is fitted into to be judged.
        train: number of training images kept; None for all.
        val: number of validation images; 0 for none, None for all of their list or folder, or for a share of
            the training images.
        test: number of test images kept; None for all.
        split_seed: seed of what is held out and kept; 1.
    """

    longest: int
    crop: int
    scale: Sequence[float]
    jitter: float
    window: Sequence[int]
    train: int | None
    val: int | None
    test: int | None
    split_seed: int


_PHOTOGRAPHS: MapOptions = {
    "longest": 640,
    "crop": 512,
    "scale": (1.0, 1.0),
    "jitter": 0.3,
    "window": (480, 480),
    "split_seed": 1,
}
_STREETS: MapOptions = {
    **_PHOTOGRAPHS,
    "longest": 2048,
    "crop": 768,
    "scale": (0.5, 2.0),
    "window": (1024, 2048),
}


@register("voc")
def voc(
    root: Path,
    download: bool = False,
    augmented: bool = False,
    train_list: str | None = None,
    test_list: str = "val",
    val_list: str | None = None,
    **options: Unpack[MapOptions],
) -> SegmentationTask:
    """PASCAL VOC 2012: 1,464 photographs, or 10,582, with maps of 20 classes and background; tested on val.

    Looked for in VOCdevkit/VOC2012, in VOC2012, or in `root` itself: JPEGImages, SegmentationClass and
    ImageSets/Segmentation. Another data set of this layout names its classes in a file classes.txt beside them.

    Args:
        root: folder around all of these.
        download: fetch the archive through torchvision where none of these is there; the augmented maps are not
            in it.
        augmented: train on the list trainaug or train_aug with the maps of SegmentationClassAug, with which
            training images that are held out validate too; those of SegmentationClass test, and validate where
            `val_list` names them.
        train_list: name of the list of training images; None for train, or trainaug. A line names an image, or
            has the paths of image and map.
        test_list: name of the list of test images.
        val_list: name of the list of validation images; None to hold them out of the training images.
        **options: as in `MapOptions`; 640 and 512 pixels, no other scale, jitter 0.3, a window of 480 x 480,
            and a fifth of the training images for validation where no list names them.

    Everingham, Van Gool, Williams, Winn, Zisserman: "The PASCAL Visual Object Classes (VOC) Challenge", IJCV
    2010. The augmented maps: Hariharan, Arbelaez, Bourdev, Maji, Malik: "Semantic Contours from Inverse
    Detectors", ICCV 2011.
    """
    settings: MapOptions = {**_PHOTOGRAPHS, **options}
    folder = _voc_folder(root, download)
    own = folder / "SegmentationClass"
    labels = folder / "SegmentationClassAug" if augmented else own
    for place in (own, labels):
        if not place.is_dir():
            raise InputError(
                f"There is no folder {place.resolve()}: the label maps were expected there"
                f"{', as data.args.augmented is true' if place != own else ''}."
            )
    names = _class_names(folder) or list(VOC)
    transforms = _transforms(settings)

    def read(name: str, labels: Path) -> LabelSet:
        listed = folder / "ImageSets" / "Segmentation" / f"{name}.txt"
        return LabelSet(pairs_of(folder / "JPEGImages", labels, listed), len(names), transforms)

    usual = ["trainaug", "train_aug"] if augmented else ["train"]
    there = [name for name in usual if (folder / "ImageSets" / "Segmentation" / f"{name}.txt").is_file()]
    training = read(train_list or [*there, *usual][0], labels)
    validation = None if val_list is None else read(val_list, own)
    return _task(training, validation, read(test_list, own), names, settings, VOC_HELD_OUT, background=True)


@register("cityscapes")
def cityscapes(
    root: Path,
    **options: Unpack[MapOptions],
) -> SegmentationTask:
    """Cityscapes: 2,975 street scenes with maps of 19 classes; tested on the 500 of its folder val.

    Looked for in `root`: leftImg8bit/{train,val}/CITY/*_leftImg8bit.png, and gtFine/{train,val}/CITY with
    *_gtFine_labelTrainIds.png or *_gtFine_labelIds.png, whose 34 labels become the 19 that are judged.

    Args:
        root: folder around both.
        **options: as in `MapOptions`; 2,048 and 768 pixels, scale 0.5 to 2, jitter 0.3, a window of 1,024 x
            2,048, and a tenth of the training images for validation.

    Cordts, Omran, Ramos, Rehfeld, Enzweiler, Benenson, Franke, Roth, Schiele: "The Cityscapes Dataset for
    Semantic Urban Scene Understanding", CVPR 2016.
    """
    settings: MapOptions = {**_STREETS, **options}
    transforms = _transforms(settings)
    training, testing = (_cities(root, part, transforms) for part in ("train", "val"))
    return _task(training, None, testing, list(CITYSCAPES), settings)


@register("segmentation")
def segmentation(
    root: Path,
    train_images: str = "train/images",
    train_masks: str = "train/masks",
    val_images: str = "val/images",
    val_masks: str = "val/masks",
    test_images: str = "test/images",
    test_masks: str = "test/masks",
    classes: str = CLASSES_FILE,
    num_classes: int | None = None,
    background: bool = False,
    **options: Unpack[MapOptions],
) -> SegmentationTask:
    """Images and label maps of the same names, in folders of your own.

    A label map is a PNG picture with a palette, or in grey, whose levels are the classes; 255 is ignored.

    Args:
        root: folder around all others.
        train_images: folder of the training images.
        train_masks: folder of their label maps.
        val_images: of validation; where it does not exist, images are held out of the training images.
        val_masks: likewise.
        test_images: of test.
        test_masks: likewise.
        classes: file with the names of the classes, one a line, in the order of their labels.
        num_classes: number of classes, where there is no such file.
        background: whether class 0 is what belongs to nothing: scores without it are then given too.
        **options: as in `MapOptions`, by default as for `voc`, but a tenth of the training images for
            validation.
    """
    settings: MapOptions = {**_PHOTOGRAPHS, **options}
    names = _class_names(root, classes)
    if names is None and num_classes is None:
        raise InputError(
            f"There is no file {(root / classes).resolve()} with the names of the classes, one a line; write "
            "it, or set data.args.num_classes."
        )
    if names is not None and num_classes not in (None, len(names)):
        raise InputError(
            f"{root / classes} names {len(names)} classes, but data.args.num_classes is {num_classes}: leave "
            "it out."
        )
    shown = names or [str(k) for k in range(num_classes or 0)]
    transforms = _transforms(settings)

    def read(images: str, masks: str) -> LabelSet:
        for folder, what in ((images, "images"), (masks, "label maps")):
            if not (root / folder).is_dir():
                raise InputError(
                    f"There is no folder {(root / folder).resolve()}: {what} were expected there; set "
                    "data.root and data.args to where they are."
                )
        return LabelSet(pairs_of(root / images, root / masks), len(shown), transforms)

    training = read(train_images, train_masks)
    validation = None
    if (root / val_images).is_dir() and settings.get("val") != 0:
        validation = read(val_images, val_masks)
    testing = read(test_images, test_masks)
    return _task(training, validation, testing, shown, settings, background=background)


def _task(
    training: LabelSet,
    validation: LabelSet | None,
    testing: LabelSet,
    names: list[str],
    settings: MapOptions,
    share: float = 0.1,
    *,
    background: bool = False,
) -> SegmentationTask:
    """Hold out what validates where nothing says which, and keep so many of each part."""
    seed, val = settings["split_seed"], settings.get("val")
    refuse_shared(training, testing)
    note = "validation images have a list or a folder of their own"
    if validation is not None:
        validation = some(validation, val, seed, "val")
        training = without(training, validation)
    elif val == 0:
        validation, note = training.subset([]), "nothing is held out for validation"
    else:
        training, validation = held_out(training, val, seed, share)
        note = f"{len(validation):,} of the training images are held out for validation"
    return SegmentationTask(
        train=some(training, settings.get("train"), seed, "train"),
        val=validation,
        test=some(testing, settings.get("test"), seed, "test"),
        class_names=names,
        background=background,
        note=note,
    )


def _transforms(settings: MapOptions) -> LabelTransforms:
    scale, window = settings["scale"], settings["window"]
    if len(scale) != 2 or len(window) != 2:
        raise InputError(
            f"data.args.scale and data.args.window take two numbers each, such as [0.5, 2.0] and [480, 480], "
            f"not {list(scale)} and {list(window)}."
        )
    sides = (settings["longest"], settings["crop"])
    return LabelTransforms(*sides, (scale[0], scale[1]), settings["jitter"], (window[0], window[1]))


def _voc_folder(root: Path, download: bool) -> Path:
    title, photographs = "PASCAL VOC 2012", "JPEGImages"
    places = [root / "VOCdevkit" / "VOC2012", root / "VOC2012", root]

    def found() -> Path | None:
        return next((place for place in places if (place / photographs).is_dir()), None)

    if download and found() is None:
        archive = DATASET_YEAR_DICT["2012"]
        fetch_archive(title, root, archive["url"], archive["filename"], archive["md5"])
    if folder := found():
        return folder
    raise InputError(
        f"{title} was looked for in {', '.join(str(place.resolve()) for place in places)}, where a folder "
        f"{photographs} was expected; set data.root to the folder around it, or data.download to true."
    )


def _class_names(folder: Path, file: str = CLASSES_FILE) -> list[str] | None:
    path = folder / file
    if not path.is_file():
        return None
    names = [line.strip() for line in lines_of(path) if line.strip()]
    if len(names) < 2:
        raise InputError(f"{path} names {len(names)} classes: expected two or more, one a line.")
    return names


def _cities(root: Path, part: str, transforms: LabelTransforms) -> LabelSet:
    folder = root / "leftImg8bit" / part
    ending = "_leftImg8bit.png"
    images = sorted(path for path in folder.glob(f"*/*{ending}") if not is_litter(path.name))
    if not images:
        raise InputError(
            f"Cityscapes was looked for in {folder.resolve()}, where CITY/*{ending} were expected; set "
            "data.root to the folder around leftImg8bit and gtFine."
        )
    pairs, kinds = [], set()
    for image in images:
        name = image.name.removesuffix(ending)
        beside = root / "gtFine" / part / image.parent.name
        ready, raw = (beside / f"{name}_gtFine_{kind}.png" for kind in ("labelTrainIds", "labelIds"))
        label = ready if ready.is_file() else raw
        if not label.is_file():
            raise InputError(f"{image} has no label map: expected {ready.resolve()} or {raw.name} beside it.")
        kinds.add(label == raw)
        pairs.append(Pair(name, image, label))
    if len(kinds) > 1:
        raise InputError(
            f"Some maps in {root / 'gtFine' / part} are labelTrainIds and some labelIds only: make all of the "
            "one kind, or delete those that are there."
        )
    table: Mapping[int, int] | None = None
    if kinds == {True}:
        table = {level: label for label, level in enumerate(CITYSCAPES.values())}
    return LabelSet(pairs, len(CITYSCAPES), transforms, table=table)
