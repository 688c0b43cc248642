"""Salient-object sets: any pair of folders, and DUTS."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from calibrant.data.dense import DenseTask
from calibrant.data.folders import refuse_missing
from calibrant.data.map_set import MapSet, read_folder
from calibrant.data.named_maps import named_below, read_named
from calibrant.data.pair_set import held_out, refuse_shared, some, without
from calibrant.data.registry import register
from calibrant.errors import InputError


@register("saliency")
def saliency(
    root: Path,
    train_folder: str = "Train",
    val_folder: str | None = "Val",
    test_folder: str = "Test",
    train_list: str | None = None,
    val_list: str | None = None,
    test_list: str | None = None,
    ood_folder: str | None = None,
    size: int = 320,
    train: int | None = None,
    val: int | None = None,
    test: int | None = None,
    ood: int | None = None,
    split_seed: int = 1,
    binarise: bool = False,
) -> DenseTask:
    """Photographs with maps of their salient object, from folders with Image and GT; see `map_set.read_folder`.

    Args:
        root: folder around all others.
        train_folder: the training images.
        val_folder: the validation images; None, or no folder Val, to hold them out of the training images.
        test_folder: the test images.
        train_list: file with the names of the training images; None for all.
        val_list: file with the names of the validation images, which are in the training folder.
        test_list: file with the names of the test images; None for all.
        ood_folder: images without any salient object, whose labels are black: textures.
        size: side of the network's input, in pixels.
        train: number of training images kept; None for all.
        val: number of validation images; None for all, or for a tenth of the training images.
        test: number of test images kept; None for all.
        ood: number of images without an object kept; None for all.
        split_seed: seed of what is held out and kept.
        binarise: make the resized labels 0 or 1 again.
    """

    def read(folder: str, names: str | None = None, *, black: bool = False) -> MapSet:
        return read_folder(
            root / folder, size, names=None if names is None else root / names, black=black, binarise=binarise
        )

    refuse_missing(root, val_folder=(val_folder, "Val"))
    validation, note = None, ""
    if val_list is not None:
        validation, note = read(train_folder, val_list), _LISTED.format(val_list)
    elif val_folder is not None and (root / val_folder).is_dir():
        validation = read(val_folder)
        note = "training, validation and test images come from folders of their own"
    others = {}
    if ood_folder is not None:
        others = {Path(ood_folder).name: some(read(ood_folder, black=True), ood, split_seed, "ood")}
    task = DenseTask(
        train=read(train_folder, train_list),
        val=read(train_folder).subset([]) if validation is None else validation,
        test=some(read(test_folder, test_list), test, split_seed, "test"),
        ood=others,
        note=note,
    )
    return _divided(task, train, val, split_seed)


_LISTS = ("DUTS-TR-Train.txt", "DUTS-TR-Validation.txt")
_TEXTURES = "Texture_Image_Names.txt"
_LISTED = "the training images of {} are the validation images"


def _divided(task: DenseTask, train: int | None, val: int | None, seed: int) -> DenseTask:
    """Hold out what validates where nothing says which, train on no image that does, and keep so many."""
    training, note = task.train, task.note
    refuse_shared(training, task.test)
    if len(task.val):
        validation = some(task.val, val, seed, "val")
        training = without(training, validation)
    else:
        training, validation = held_out(training, val, seed)
        note = f"{len(validation):,} of the training images are held out for validation"
    return replace(task, train=some(training, train, seed, "train"), val=validation, note=note)


@register("duts")
def duts(
    root: Path,
    test_set: str = "DUTS-TE",
    others: Sequence[str] | None = None,
    size: int = 384,
    train: int | None = None,
    val: int | None = None,
    test: int | None = None,
    split_seed: int = 1,
    binarise: bool = False,
) -> DenseTask:
    """DUTS: 10,553 training photographs with maps of the salient object; tested on DUTS-TE, ECSSD or others.

    Looked for in Train/DUTS-TR, or in DUTS-TR; a test set in Test, in TestDataset or in `root` itself, in the
    folders in which its authors, or collections of several, pack images and maps: see `named_maps.NAMED`. The
    published split of the training images (9,553 and 1,000) is used where its files DUTS-TR-Train.txt and
    DUTS-TR-Validation.txt are in `root`; otherwise 1,000 are held out at random. Textures, in
    Test/DTD_Texture_500 or DTD_Texture_500, are read where they are there; or those in dtd/images, as the
    Describable Textures Dataset is packed, that a list Texture_Image_Names.txt in `root` names.

    Args:
        root: folder around all of these.
        test_set: DUTS-TE, DUT-OMRON, PASCAL-S, SOD, ECSSD, HKU-IS or COD10K; or another folder's name.
        others: more of these, on which the network is judged too; None for all of these that are there.
        size: side of the network's input, in pixels; published: 384.
        train: number of training images kept; None for all.
        val: number of validation images; None for all of the list, or 1,000.
        test: number of test images kept; None for all.
        split_seed: seed of what is held out and kept.
        binarise: make the resized labels 0 or 1 again.

    Wang et al.: "Learning to Detect Salient Objects with Image-level Supervision", CVPR 2017. The split is that
    of Liu et al., ICCV 2023.
    """
    photographs = next((at for at in (root / "Train/DUTS-TR", root / "DUTS-TR") if at.is_dir()), None)
    if photographs is None:
        raise InputError(
            f"DUTS was looked for in {root.resolve()}, where a folder Train/DUTS-TR or DUTS-TR was expected; "
            "set data.root to the folder around it."
        )
    absent = [name for name in _LISTS if not (root / name).is_file()]
    if len(absent) == 1:
        raise InputError(f"{root.resolve()} lacks {absent[0]}, the other list: add it, or take both away.")
    train_list, val_list = (None, None) if absent else _LISTS
    listed = root / _TEXTURES
    places = ["Test/DTD_Texture_500", "DTD_Texture_500", *(["dtd/images"] if listed.is_file() else [])]
    textures = next((at for at in places if (root / at).is_dir()), None)

    def read(names: str | None = None) -> MapSet:
        return read_folder(photographs, size, names=None if names is None else root / names, binarise=binarise)

    if others is None:
        others = [name for name in named_below(root) if name != test_set]
    # They are judged once, at the end: not worth keeping.
    ood = {name: read_named(root, name, size, keep=0, binarise=binarise) for name in others}
    if textures is not None:
        names = listed if textures == "dtd/images" else None
        ood["DTD_Texture_500"] = read_folder(root / textures, size, names=names, black=True, binarise=binarise)
    task = DenseTask(
        train=read(train_list),
        val=read().subset([]) if val_list is None else read(val_list),
        test=some(read_named(root, test_set, size, binarise=binarise), test, split_seed, "test"),
        ood=ood,
        note="" if val_list is None else _LISTED.format(val_list),
    )
    return _divided(task, train, 1000 if val is None and val_list is None else val, split_seed)
