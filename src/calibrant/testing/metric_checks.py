"""The battery that every streaming metric must pass: `check_metric(MyMetric)` runs it all."""

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from calibrant.errors import InputError

Factory = Callable[..., Any]


def check_metric(make: Factory, *, num_classes: int = 5) -> None:
    """Run every check of this module on a metric.

    Args:
        make: builds the metric; takes `inputs` and `ignore_index` by keyword.
        num_classes: C of the predictions that it is tried on.

    Raises:
        AssertionError: naming the check that failed.

    Example:
        >>> from calibrant.metrics import ECE
        >>> check_metric(ECE)
    """
    for check in CHECKS:
        generator = torch.Generator().manual_seed(0)
        try:
            check(make, _Data(num_classes, generator))
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {error}") from error


class _Data:
    """Predictions of images to try a metric on."""

    def __init__(self, classes: int, generator: torch.Generator) -> None:
        self.classes, self.generator = classes, generator

    def batch(self, *shape: int) -> tuple[Tensor, Tensor]:
        """Return float32 logits and labels, those of about half of the rows right."""
        shape = shape or (60,)
        logits = 2 * torch.randn((shape[0], self.classes, *shape[1:]), generator=self.generator)
        guess = torch.randint(0, self.classes, shape, generator=self.generator)
        lucky = torch.rand(shape, generator=self.generator) < 0.5
        return logits, torch.where(lucky, logits.argmax(1), guess)


def value_of(metric: Any, *batches: tuple[Tensor, Tensor]) -> Tensor:
    """Return the value after the batches, as one float64 vector."""
    for values, target in batches:
        metric.update(values, target)
    value = metric.compute()
    parts = value if isinstance(value, tuple) else (value,)
    return torch.cat([part.double().reshape(-1) for part in parts])


def _same(ours: Tensor, theirs: Tensor, what: str, tolerance: float = 1e-12) -> None:
    assert torch.equal(ours.isnan(), theirs.isnan()), f"{what}: {ours} against {theirs}"
    difference = float((ours - theirs).nan_to_num().abs().max())
    assert difference <= tolerance, f"{what} differ by {difference:.2g}"


def batches_do_not_matter(make: Factory, data: _Data) -> None:
    """One batch, or many of different sizes, an empty one among them: the same value."""
    values, target = data.batch(64)
    whole = value_of(make(inputs="logits"), (values, target))
    sizes = [1, 0, 30, 33]
    parts = list(zip(torch.split(values, sizes), torch.split(target, sizes), strict=True))
    _same(value_of(make(inputs="logits"), *parts), whole, "batches")


def order_does_not_matter(make: Factory, data: _Data) -> None:
    """A permutation of the rows changes nothing, tied confidences or not."""
    values, target = data.batch(64)
    values = values.round()
    order = torch.randperm(64, generator=data.generator)
    ours = value_of(make(inputs="logits"), (values[order], target[order]))
    _same(ours, value_of(make(inputs="logits"), (values, target)), "orders")


def maps_are_rows(make: Factory, data: _Data) -> None:
    """A map counts as its pixels."""
    values, target = data.batch(3, 4, 5)
    rows = values.movedim(1, -1).reshape(-1, data.classes), target.reshape(-1)
    ours = value_of(make(inputs="logits"), (values, target))
    _same(ours, value_of(make(inputs="logits"), rows), "maps and their pixels", 1e-7)


def ignored_is_removed(make: Factory, data: _Data) -> None:
    """An ignored row counts nowhere, even one that holds NaN; one or several labels can be ignored."""
    values, target = data.batch(60)
    kept = value_of(make(inputs="logits"), (values[20:], target[20:]))
    target[:10], target[10:20] = 255, -1
    values[:5] = float("nan")
    _same(value_of(make(inputs="logits", ignore_index=(255, -1)), (values, target)), kept, "ignored rows")


def half_precision_is_exact(make: Factory, data: _Data) -> None:
    """Values of bfloat16 and float16 count as the float32 numbers that they are."""
    for dtype in (torch.bfloat16, torch.float16):
        values, target = data.batch(60)
        values = values.to(dtype)
        ours = value_of(make(inputs="logits"), (values, target))
        _same(ours, value_of(make(inputs="logits"), (values.float(), target)), str(dtype))


def probabilities_agree_with_logits(make: Factory, data: _Data) -> None:
    """Logits and their softmax give the same value."""
    values, target = data.batch(60)
    values = values.double()
    ours = value_of(make(inputs="probs"), (values.softmax(1), target))
    _same(ours, value_of(make(inputs="logits"), (values, target)), "logits and probabilities", 1e-9)


def nothing_is_refused(make: Factory, data: _Data) -> None:
    """Without a row that counts, `compute` says so."""
    values, target = data.batch(4)
    for metric, labels in ((make(inputs="logits"), None), (make(inputs="logits", ignore_index=0), target * 0)):
        if labels is not None:
            metric.update(values, labels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchmetrics' own warning before any update
            assert "no samples" in _refusal(metric.compute), "an empty metric gave a value"


def mistakes_are_refused(make: Factory, data: _Data) -> None:
    """NaN, probabilities out of range, unexpected labels, shapes that do not fit and unsaid inputs raise."""
    values, target = data.batch(8)
    broken = values.clone()
    broken[3, 1] = float("nan")
    wild = target.clone()
    wild[5] = data.classes
    assert "(3, 1)" in _refusal(lambda: make(inputs="logits").update(broken, target)), "NaN was taken"
    probs = values.softmax(1)
    probs[3, 1] = float("nan")
    assert "(3, 1)" in _refusal(lambda: make(inputs="probs").update(probs, target)), "a NaN was taken"
    assert "[0, 1]" in _refusal(lambda: make(inputs="probs").update(values, target)), "logits passed as probs"
    assert "(5,)" in _refusal(lambda: make(inputs="logits").update(values, wild)), "a wild label was taken"
    refusal = _refusal(lambda: make(inputs="logits").update(values, target[:4]))
    assert "shape" in refusal, "a target of the wrong shape was taken"
    assert "inputs" in _refusal(lambda: make(inputs="guess")), "inputs='guess' was taken"


def _refusal(action: Callable[[], Any]) -> str:
    try:
        action()
    except InputError as error:
        return str(error)
    return ""


def copies_carry_on(make: Factory, data: _Data) -> None:
    """A pickled metric goes on where it stood, a reset one starts anew."""
    first, second = data.batch(30), data.batch(20)
    metric = make(inputs="logits")
    metric.update(*first)
    copy = pickle.loads(pickle.dumps(metric))
    _same(value_of(copy, second), value_of(make(inputs="logits"), first, second), "a copy")
    metric.reset()
    _same(value_of(metric, second), value_of(make(inputs="logits"), second), "a reset metric")


def parts_merge(make: Factory, data: _Data) -> None:
    """Two metrics that saw half of the data each, merged, are one that saw it all."""
    first, second = data.batch(30), data.batch(20)
    one, other = make(inputs="logits"), make(inputs="logits")
    one.update(*first)
    other.update(*second)
    one.merge_state(other)
    _same(value_of(one), value_of(make(inputs="logits"), first, second), "merged halves")


def inputs_are_left_alone(make: Factory, data: _Data) -> None:
    """Neither predictions nor labels are written to, in any type."""
    for dtype in (torch.float32, torch.float64):
        values, target = data.batch(60)
        values = values.to(dtype)
        probs = values.softmax(1)
        before = values.clone(), probs.clone(), target.clone()
        make(inputs="logits").update(values, target)
        make(inputs="probs").update(probs, target)
        same = all(torch.equal(a, b) for a, b in zip(before, (values, probs, target), strict=True))
        assert same, f"{dtype} inputs were changed"


def forward_gives_the_batch(make: Factory, data: _Data) -> None:
    """Calling the metric returns the value of the batch, and keeps it for the whole."""
    first, second = data.batch(30), data.batch(20)
    metric = make(inputs="logits")
    metric(*first)
    last = metric(*second)
    parts = last if isinstance(last, tuple) else (last,)
    last = torch.cat([part.double().reshape(-1) for part in parts])
    _same(last, value_of(make(inputs="logits"), second), "the value of the batch")
    _same(value_of(metric), value_of(make(inputs="logits"), first, second), "the value of the whole")


CHECKS = (
    batches_do_not_matter,
    order_does_not_matter,
    maps_are_rows,
    ignored_is_removed,
    half_precision_is_exact,
    probabilities_agree_with_logits,
    nothing_is_refused,
    mistakes_are_refused,
    copies_carry_on,
    parts_merge,
    inputs_are_left_alone,
    forward_gives_the_batch,
)
