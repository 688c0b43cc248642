"""Every registered calibrator passes the battery, and the battery catches what is wrong."""

from typing import Any

import pytest
import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.posthoc import (
    CALIBRATORS,
    Calibrator,
    TemperatureScaling,
    VectorScaling,
    create,
    list_calibrators,
)
from calibrant.testing import check_calibrator

#: What keeps a battery short.
OPTIONS: dict[str, dict[str, Any]] = {
    "auto": {"candidates": ["temperature", "histogram"], "folds": 2},
    "local_temperature": {"hidden": 4, "steps": 3},
}


@pytest.mark.parametrize("name", list_calibrators())
@pytest.mark.parametrize("classes", [2, 5])
def test_battery(name: str, classes: int) -> None:
    options = OPTIONS.get(name, {})
    check_calibrator(lambda: create(name, num_classes=classes, **options), num_classes=classes)


def test_battery_passes_grids_too() -> None:
    check_calibrator(lambda: TemperatureScaling(grid=[0.01, 0.2, 1.0, 3.0, 50.0, 100.0]))


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'temperature'"):
        create("temprature")
    with pytest.raises(InputError, match="did you mean 'criterion'"):
        create("temperature", criteria="ece")


def test_summary_is_the_first_line_of_the_docstring() -> None:
    assert CALIBRATORS.summary("temperature").startswith("Divide the logits by the temperature")


def test_a_calibrator_without_formula_is_refused() -> None:
    with pytest.raises(InputError, match="must define fit_rows"):
        Calibrator().fit(torch.zeros(2, 2), torch.tensor([0, 1]))
    with pytest.raises(InputError, match="must define forward"):
        Calibrator()(torch.zeros(2, 2))


class Flattening(TemperatureScaling):
    def forward(self, logits: Tensor) -> Tensor:
        return super().forward(logits).flatten(1)


class Widening(TemperatureScaling):
    def forward(self, logits: Tensor) -> Tensor:
        return super().forward(logits).double()


class Forgetful(TemperatureScaling):
    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        super().fit_rows(logits, labels)
        self.kept = float(self.temperature_)

    def forward(self, logits: Tensor) -> Tensor:
        return logits / getattr(self, "kept", 1.0)


class Random(TemperatureScaling):
    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        super().fit_rows(logits, labels)
        self.temperature_ += 0.01 * torch.rand(())


class Overwriting(TemperatureScaling):
    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        super().fit_rows(logits, labels)
        logits -= logits.mean()


class Sharpening(TemperatureScaling):
    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        self.temperature_.fill_(0.5)


class Lenient(TemperatureScaling):
    def fit(self, logits, target, ignore_index=None):  # type: ignore[no-untyped-def]
        return super().fit(logits.nan_to_num(), target, ignore_index)


class Shuffling(VectorScaling):
    keeps_argmax = True


class Ordered(TemperatureScaling):
    improves_nll, keeps_argmax = False, False

    def forward(self, logits: Tensor) -> Tensor:
        return super().forward(logits) + torch.arange(logits.shape[1]).view(-1, *[1] * (logits.dim() - 2))


class Hopeless(TemperatureScaling):
    improves_nll = False

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        self.temperature_.fill_(1.0 if len(labels.unique()) == logits.shape[1] else float("nan"))


class Blurred(TemperatureScaling):
    improves_nll = False

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = 2 * power

    def forward(self, logits: Tensor) -> Tensor:
        return super().forward(logits) * self.power


class Single(TemperatureScaling):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.tensor(1.0))

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        super().fit_rows(logits, labels)
        self.kept.copy_(self.temperature_)

    def forward(self, logits: Tensor) -> Tensor:
        return (logits.double() / self.kept.double()).to(logits.dtype)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Shuffling, "argmax_stays"),
        (Ordered, "classes_have_no_order"),
        (Blurred, "arguments_build_it_again"),
        (Hopeless, "a_class_without_labels_is_no_obstacle"),
        (Flattening, "keeps_shape_type_and_device"),
        (Widening, "keeps_shape_type_and_device"),
        (Forgetful, "state_dict_holds_the_fit"),
        (Single, "a_cast_leaves_the_fit"),
        (Random, "fit_is_deterministic"),
        (Overwriting, "fit_leaves_its_arguments_alone"),
        (Sharpening, "nll_is_never_worse_than_none"),
        (Lenient, "mistakes_are_refused"),
    ],
)
def test_battery_catches(broken: type[Calibrator], check: str) -> None:
    with pytest.raises(AssertionError, match=check):
        check_calibrator(broken)
