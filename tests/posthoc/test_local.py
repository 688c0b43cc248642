"""Temperatures that depend on the place, and on the class."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from calibrant.errors import InputError
from calibrant.posthoc import (
    ClassTemperatureScaling,
    ConvergenceWarning,
    LocalTemperatureScaling,
    TemperatureScaling,
)


def drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    return (logits - torch.empty_like(logits).exponential_(generator=generator).log()).argmax(1)


def maps(images: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits (N, 3, 12, 12) that are too large where an image is bright, labels, and the images."""
    generator = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(images, 3, 12, 12, generator=generator)
    image = torch.zeros(images, 1, 12, 12)
    image[..., 6:] = 1
    return true * (1 + 3 * image), drawn(true, generator), image


def test_an_image_tells_where_logits_are_too_large() -> None:
    logits, target, image = maps()
    fitted = LocalTemperatureScaling(hidden=8, steps=25).fit(logits, target, images=image)
    temperature = (logits / fitted(logits, image)).mean((0, 1))
    assert float(temperature[:, :4].mean()) == pytest.approx(1, rel=0.3)
    assert float(temperature[:, 8:].mean()) == pytest.approx(4, rel=0.3)


def test_held_out_maps_are_better_than_with_one_temperature() -> None:
    logits, target, _ = maps()
    local = LocalTemperatureScaling(hidden=8, steps=25).fit(logits[:6], target[:6])
    one = TemperatureScaling().fit(logits[:6], target[:6])
    assert cross_entropy(local(logits[6:]), target[6:]) < cross_entropy(one(logits[6:]), target[6:])


def test_ignored_pixels_of_maps_may_hold_anything() -> None:
    logits, target, _ = maps(4)
    target[:, :3] = 255
    options = {"hidden": 2, "steps": 3}
    clean = LocalTemperatureScaling(**options).fit(
        logits.masked_fill((target == 255).unsqueeze(1), 0), target, 255
    )
    poisoned = logits.masked_fill((target == 255).unsqueeze(1), float("nan"))
    fitted = LocalTemperatureScaling(**options).fit(poisoned, target, 255)
    assert torch.equal(fitted(logits), clean(logits))


def test_many_pixels_are_thinned_by_maps() -> None:
    logits, target, _ = maps(8)
    thinned = LocalTemperatureScaling(hidden=2, steps=3, pixels=4 * 144).fit(logits, target)
    few = LocalTemperatureScaling(hidden=2, steps=3).fit(logits[::2], target[::2])
    assert float(thinned.first_.sub(few.first_).abs().max()) < 0.1
    assert torch.isfinite(thinned(logits)).all()


def test_images_must_be_as_in_the_fit() -> None:
    logits, target, image = maps(2)
    fitted = LocalTemperatureScaling(hidden=2, steps=1).fit(logits, target, images=image)
    with pytest.raises(InputError, match="fitted to images of 1 channels"):
        fitted(logits)
    with pytest.raises(InputError, match="do not fit maps"):
        fitted(logits, image[..., :5])
    with pytest.raises(InputError, match=r"maps \(N, C, H, W\)"):
        LocalTemperatureScaling().fit(torch.zeros(1, 2, 2, 2, 2), torch.zeros(1, 2, 2, 2).long())
    with pytest.raises(InputError, match="hidden, steps and pixels must be 1 or more"):
        LocalTemperatureScaling(hidden=0)


def test_temperatures_follow_the_frequencies() -> None:
    generator = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(30_000, 3, generator=generator)
    temperatures = torch.tensor([1.5 + 1.0, 1.5 + 0.5, 1.5])
    fitted = ClassTemperatureScaling([1000, 500, 0], omega=1.0).fit(true * temperatures, drawn(true, generator))
    assert fitted.temperatures_.tolist() == pytest.approx(temperatures.tolist(), abs=0.05)
    assert fitted.converged_


def test_without_omega_it_is_temperature_scaling() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(500, 4, generator=generator, dtype=torch.float64)
    target = drawn(true, generator)
    fitted = ClassTemperatureScaling(omega=0.0).fit(3 * true, target)
    expected = float(TemperatureScaling().fit(3 * true, target).temperature_)
    assert fitted.temperatures_.tolist() == pytest.approx([expected] * 4)


def test_no_minimum_is_said() -> None:
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    with pytest.warns(ConvergenceWarning, match="ClassTemperatureScaling did not converge"):
        fitted = ClassTemperatureScaling(omega=0.0).fit(logits, logits.argmin(1))
    assert not fitted.converged_


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"class_counts": [-1, 2]}, "none below 0"),
        ({"class_counts": [0, 0]}, "one number a class"),
        ({"omega": -0.1}, "omega must be a number from 0 up"),
    ],
)
def test_wrong_frequencies_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ClassTemperatureScaling(**options)
    with pytest.raises(InputError, match="class_counts holds 2 numbers, but there are 3 classes"):
        ClassTemperatureScaling([1, 2]).fit(torch.zeros(2, 3), torch.tensor([0, 1]))
