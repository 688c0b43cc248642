"""The test errors that a run made with most confidence: a table, and the images or texts themselves, small."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import Image, fromarray

from calibrant.training.files import replacing
from calibrant.training.run_folder import Predictions, RunFolder, reading

if TYPE_CHECKING:
    # A page is made without the trainer that data need.
    from calibrant.data import FileImageTask, ImageTask, TextTask

#: How many errors are kept; the longer side of a picture, in pixels; and the words of a text.
_KEPT, _SIDE, _WORDS = 12, 80, 60
#: Pictures up to this side are kept as they are.
_SMALL = 64


@dataclass(frozen=True)
class ConfidentError:
    """A test sample that a network was sure of, wrongly.

    Attributes:
        id: of the sample in its data set.
        truth: its label.
        said: the class that was predicted.
        confidence: of that prediction.
        text: its words, as the network reads them; empty for images.
        picture: the file of its picture; None for texts.
    """

    id: int
    truth: int
    said: int
    confidence: float
    text: str = ""
    picture: Path | None = None


def confident_errors(predictions: Predictions) -> list[tuple[int, ConfidentError]]:
    """Return position and facts of every error, the most confident first.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 2.0], [3.0, 0.0], [5.0, 0.0]])
        >>> found = confident_errors(Predictions(logits, torch.tensor([0, 1, 0]), torch.arange(3), ["a", "b"]))
        >>> [(position, error.truth, error.said, round(error.confidence, 2)) for position, error in found]
        [(1, 1, 0, 0.95), (0, 0, 1, 0.88)]
    """
    top = predictions.logits.double().softmax(1).max(1)
    wrong = (top.indices != predictions.targets).nonzero().squeeze(1)
    order = wrong[top.values[wrong].argsort(descending=True, stable=True)]
    columns = (predictions.ids, predictions.targets, top.indices, top.values)
    return [
        (position, ConfidentError(*facts))
        for position, *facts in zip(order.tolist(), *(c[order].tolist() for c in columns), strict=True)
    ]


def write_errors(
    run: RunFolder, predictions: Predictions, task: "ImageTask | FileImageTask | TextTask"
) -> None:
    """Write the most confident errors on test, with what they are of.

    Args:
        run: whose errors these are.
        predictions: on the test samples of the task, in their order.
        task: gives the images or texts.
    """
    rows = []
    for place, (position, error) in enumerate(confident_errors(predictions)[:_KEPT], 1):
        shown = _shown(task, position)
        file = ""
        if isinstance(shown, Image):
            small = max(shown.size) <= _SMALL
            file = f"errors/{place}.{'png' if small else 'jpg'}"
            shown.thumbnail((_SIDE, _SIDE))
            with replacing(run.path / file) as temporary:
                shown.save(temporary, format="png" if small else "jpeg", quality=80)
        text = shown if isinstance(shown, str) else ""
        rows.append([error.id, error.truth, error.said, repr(error.confidence), file, text])
    with replacing(run.errors_path) as temporary, temporary.open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([("id", "truth", "said", "confidence", "picture", "text"), *rows])


def read_errors(run: RunFolder) -> list[ConfidentError]:
    """Return the most confident errors that a run keeps, the most confident first."""
    if not run.errors_path.is_file():
        return []
    with reading(run.errors_path), run.errors_path.open(newline="", encoding="utf-8") as table:
        return [
            ConfidentError(
                int(row["id"]),
                int(row["truth"]),
                int(row["said"]),
                float(row["confidence"]),
                row["text"],
                run.path / row["picture"] if row["picture"] else None,
            )
            for row in csv.DictReader(table)
        ]


def _shown(task: "ImageTask | FileImageTask | TextTask", position: int) -> Image | str | None:
    """Return the picture or the words of a test sample; None for an image of neither one nor three channels."""
    from calibrant.data import FileImageTask, TextTask

    if isinstance(task, TextTask):
        words = [task.words[number] for number in task.test.tokens[position].tolist() if number]
        return " ".join(words[:_WORDS]) + (" …" if len(words) > _WORDS else "")
    if isinstance(task, FileImageTask):
        return task.test.picture(position)
    image = task.test.images[position]
    # Some data have fewer grey levels than 256; the digits of scikit-learn, 17.
    top = int(task.test.images.max())
    image = image * (255 // top if 0 < top < 128 else 1)
    if len(image) == 1:
        return fromarray(image[0].numpy())
    return fromarray(image.movedim(0, -1).contiguous().numpy()) if len(image) == 3 else None
