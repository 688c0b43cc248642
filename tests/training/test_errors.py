"""The most confident errors are kept, with what they are of."""

import numpy as np
import torch
from PIL import Image

from calibrant.data import FileImageSet, FileImageTask, ImageSet, ImageTask, TextSet, TextTask, Views
from calibrant.training.errors import read_errors, write_errors
from calibrant.training.run_folder import Predictions, RunFolder
from tests.data.photos import picture, save


def said(count: int = 30) -> Predictions:
    """Return predictions that are surer the later they come; every second one is wrong."""
    targets = torch.arange(count) % 2
    logits = torch.stack([torch.arange(count) / 4.0, torch.zeros(count)], 1)
    return Predictions(logits, targets, 100 + torch.arange(count), ["a", "b"])


def test_images_in_memory_are_kept_as_they_are_the_surest_error_first(tmp_path):
    run, predictions = RunFolder(tmp_path), said()
    images = ImageSet(
        (torch.arange(30) % 17).byte().view(-1, 1, 1, 1).expand(-1, 1, 8, 6),
        predictions.targets,
        predictions.ids,
    )
    write_errors(run, predictions, ImageTask(images, images, images, ["a", "b"]))
    errors = read_errors(run)
    assert [error.id for error in errors] == [100 + k for k in range(29, 5, -2)]
    assert {(error.truth, error.said, error.text) for error in errors} == {(1, 0, "")}
    assert errors[0].confidence == torch.tensor([29 / 4.0, 0.0]).double().softmax(0).max().item()
    with Image.open(errors[0].picture) as shown:
        assert (shown.format, shown.size, shown.getpixel((0, 0))) == ("PNG", (6, 8), 29 % 17 * 15)


def test_image_files_become_small_pictures(tmp_path):
    for k in range(4):
        save(tmp_path / f"{k}.jpg", k, k, (200, 100))
    predictions = said(4)
    files = FileImageSet(tmp_path, [f"{k}.jpg" for k in range(4)], predictions.targets, Views())
    run = RunFolder(tmp_path / "run")
    write_errors(run, predictions, FileImageTask(files, files, files, ["a", "b"]))
    errors = read_errors(run)
    assert [error.id for error in errors] == [103, 101]
    with Image.open(errors[0].picture) as shown:
        assert shown.size == (80, 40)
        expected = np.asarray(picture(3, 3, (200, 100))).mean((0, 1))
        assert np.abs(np.asarray(shown).mean((0, 1)) - expected).max() < 5
    assert sum(path.stat().st_size for path in (run.path / "errors").iterdir()) < 10_000


def test_texts_are_kept_as_the_network_reads_them(tmp_path):
    predictions = said(2)
    tokens = torch.tensor([[0, 0, 1], [0, 2, 1]], dtype=torch.int32)
    texts = TextSet(tokens, predictions.targets, predictions.ids)
    words = ["", "fish", 'young, "odd"\nfish']
    write_errors(
        RunFolder(tmp_path), predictions, TextTask(texts, texts, texts, ["a", "b"], words, torch.zeros(3, 2))
    )
    (error,) = read_errors(RunFolder(tmp_path))
    assert (error.id, error.text, error.picture) == (101, 'young, "odd"\nfish fish', None)


def test_a_run_without_errors_keeps_none(tmp_path):
    run, predictions = RunFolder(tmp_path), said(1)
    images = ImageSet(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), predictions.targets, predictions.ids)
    assert read_errors(run) == []
    write_errors(run, predictions, ImageTask(images, images, images, ["a", "b"]))
    assert read_errors(run) == []
    assert run.errors_path.is_file()
