"""What an exported network takes: the tensor, how it is made, and what the network itself does with it."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from calibrant.data import Data, DenseData, FileImageData, ImageData, LabelSet, MapSet, TextData
from calibrant.data.map_transforms import MEAN, STD

_WORDS = (
    "Numbers of words, which are their places in the list of the metadata: the text in lower case, cut at "
    "blanks, line ends and punctuation but the apostrophe; words that are not in the list are left out, a "
    "longer text keeps its last words, and 0 fills the front of a shorter one."
)


@dataclass(frozen=True)
class Samples:
    """What an exported network takes.

    Attributes:
        name: of the input.
        meaning: how the tensor is made, in words.
        mean: mean of each channel that the network subtracts itself; None where it takes what it is given.
        std: deviation of each channel by which it then divides.
        words: V words by their numbers, of texts.
    """

    name: str
    meaning: str
    mean: list[float] | None = None
    std: list[float] | None = None
    words: list[str] = field(default_factory=list)


def samples_of(data: Data) -> Samples:
    """Return what a network that was trained on these data takes.

    Images that the device normalises go in as they are stored, so that the exported network normalises them;
    where the data set does it, they go in normalised.

    Example:
        >>> from calibrant.data import ImageData, create
        >>> found = samples_of(ImageData(create("digits", train=10)))
        >>> found.name, found.mean, found.std
        ('image', [4.9], [6.0])
    """
    if isinstance(data, TextData):
        return Samples(data.inputs, _texts(data), words=data.task.words)
    if isinstance(data, DenseData):
        return Samples(data.inputs, _maps(data))
    if isinstance(data, FileImageData):
        views = data.task.test.views
        mean, std = ([255 * value for value in values] for values in (views.mean, views.std))
        side = "The shorter side is" if views.crop == "resized" else "Both sides are"
        cut = f"RGB from 0 to 255. {side} resized to {views.resize} pixels ({views.interpolation}), then the "
        cut += f"centre of {views.size} x {views.size} is cut out"
        return Samples(data.inputs, f"{cut}; {_normalised(mean, std)}", mean, std)
    assert isinstance(data, ImageData)
    mean, std = data.task.mean, data.task.std
    return Samples(data.inputs, f"Pixels as the data set stores them; {_normalised(mean, std)}", mean, std)


def _texts(data: TextData) -> str:
    if data.task.vectors is not None:
        return _WORDS
    return (
        "Numbers of tokens, which are their places in the list of the metadata: the text as it is cut by the "
        "tokenizer of the network, with the tokens that it adds; a longer text keeps its first "
        f"{data.task.test.tokens.shape[1]}, and {data.task.padding} fills the end of a shorter one."
    )


def _normalised(mean: list[float], std: list[float]) -> str:
    shown = (", ".join(f"{value:.6g}" for value in values) for values in (mean, std))
    return "the network itself subtracts the means {} and divides by {}.".format(*shown)


def _maps(data: DenseData) -> str:
    how = f"RGB from 0 to 1, less {', '.join(map(str, MEAN))}, divided by {', '.join(map(str, STD))}"
    images = data.task.test
    if isinstance(images, MapSet):
        return f"{how}, after a bilinear resize to {images.size} x {images.size} pixels."
    assert isinstance(images, LabelSet)
    height, width = images.transforms.window
    return f"{how}, after the image was fitted into {height} x {width} pixels, its shape kept, black around it."


def take(data: Data, positions: Tensor) -> Tensor:
    """Return the test samples at some positions, as the exported network takes them."""
    batch: dict[str, Any] = dict(data.task.test[positions])
    samples: Tensor = batch[data.inputs]
    return samples
