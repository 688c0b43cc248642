"""The battery that every loss must pass: `check_loss(MyLoss)` in a test of yours runs it all."""

from collections.abc import Callable

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses.base import Loss

Factory = Callable[..., Loss]


def check_loss(make: Factory, *, num_classes: int = 5) -> None:
    """Run every check of this module on a loss.

    Args:
        make: builds the loss; takes `ignore_index`, `reduction` and `weight` by keyword.
        num_classes: C of the logits that it is tried on.

    Raises:
        AssertionError: naming the check that failed.

    Example:
        >>> from calibrant.losses import MarginLoss
        >>> check_loss(MarginLoss)
    """
    for check in CHECKS:
        torch.manual_seed(0)
        try:
            check(make, num_classes)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {error}") from error


def random_batch(
    loss: Loss, num_classes: int, rows: tuple[int, ...] | None = None, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Return logits and labels of the form that the loss takes, in general position (no ties)."""
    rows = rows or ((3, 4, 5) if loss.spatial else (8,))
    shape = (rows[0], 1 if loss.binary else num_classes, *rows[1:])
    logits = 3 * torch.randn(shape, dtype=dtype)
    if loss.binary:
        return logits.requires_grad_(), torch.randint(0, 2, shape)
    return logits.requires_grad_(), torch.randint(0, num_classes, rows)


def value_of(loss: Callable[..., Tensor], logits: Tensor, target: Tensor) -> Tensor:
    """Return the loss of a batch whose samples are 0, 1, 2, …, for a loss that asks for them."""
    if getattr(loss, "needs_index", False):
        return loss(logits, target, index=torch.arange(len(logits), device=logits.device))
    return loss(logits, target)


def _value_and_gradient(loss: Loss, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    value = value_of(loss, logits, target)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    return value.detach(), gradient


def _assert_close(ours: Tensor, theirs: Tensor, what: str, tolerance: float = 1e-9) -> None:
    assert ours.shape == theirs.shape, f"{what}: shape {tuple(ours.shape)} against {tuple(theirs.shape)}"
    difference = (ours.double() - theirs.double()).abs().max() if ours.numel() else torch.zeros(())
    assert difference <= tolerance, f"{what} differ by {float(difference):.2g}"


def gradient_agrees_with_finite_differences(make: Factory, classes: int) -> None:
    """Autograd equals a central difference in float64, along random directions."""
    loss = make()
    logits, target = random_batch(loss, classes)
    _, gradient = _value_and_gradient(loss, logits, target)
    for _ in range(4):
        direction = torch.randn_like(logits)
        step = 1e-6 * direction
        values = []
        for moved in (logits.detach() + step, logits.detach() - step):
            torch.manual_seed(1)
            values.append(float(value_of(loss, moved, target)))
        measured = (values[0] - values[1]) / 2e-6
        exact = float((gradient * direction).sum())
        assert abs(measured - exact) <= 1e-5 * max(1.0, abs(exact)), f"slope {exact} against {measured}"


def value_is_finite_for_huge_logits(make: Factory, classes: int) -> None:
    """Logits of ±60 in float32 give a finite value and gradient."""
    loss = make()
    logits, target = random_batch(loss, classes, dtype=torch.float32)
    huge = (60 * logits.detach().sign()).requires_grad_()
    value, gradient = _value_and_gradient(loss, huge, target)
    assert value.isfinite().all(), f"value {value}"
    assert gradient.isfinite().all(), "the gradient is not finite"


def low_precision_is_computed_in_float32(make: Factory, classes: int) -> None:
    """Half-precision logits give the value of the same logits in float32, under autocast too."""
    loss = make()
    for dtype in (torch.bfloat16, torch.float16):
        logits, target = random_batch(loss, classes, dtype=dtype)
        value, gradient = _value_and_gradient(loss, logits, target)
        full, _ = _value_and_gradient(loss, logits.detach().float().requires_grad_(), target)
        assert value.dtype == torch.float32, f"computed in {value.dtype}"
        assert gradient.dtype == dtype, f"gradient in {gradient.dtype}"
        _assert_close(value, full, f"values in {dtype} and float32", 1e-6)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _assert_close(_value_and_gradient(loss, logits, target)[0], full, "values under autocast", 1e-6)


def nothing_to_count_gives_zero(make: Factory, classes: int) -> None:
    """A batch that is empty or all ignored gives 0 with a zero gradient, still attached to the graph."""
    loss = make(ignore_index=255)
    logits, target = random_batch(loss, classes)
    empty = logits.detach()[:0].requires_grad_()
    for some_logits, some_target in ((logits, torch.full_like(target, 255)), (empty, target[:0])):
        value, gradient = _value_and_gradient(loss, some_logits, some_target)
        assert float(value) == 0.0, f"value {float(value)}"
        assert not gradient.any(), "the gradient is not zero"


def ignored_equals_removed(make: Factory, classes: int) -> None:
    """Ignored rows change neither the value nor the gradient of the others, and get none themselves."""
    loss = make(ignore_index=[255, -1])
    if loss.spatial or loss.stochastic:
        return
    logits, target = random_batch(loss, classes)
    kept = torch.tensor([True, False, True, True, False, True, True, True])
    marked = target.clone()
    marked[1], marked[4] = 255, -1
    value, gradient = _value_and_gradient(loss, logits, marked)
    alone, gradient_alone = _value_and_gradient(
        make(ignore_index=None), logits.detach()[kept].requires_grad_(), target[kept]
    )
    _assert_close(value, alone, "values with rows ignored and removed")
    _assert_close(gradient[kept], gradient_alone, "gradients with rows ignored and removed")
    assert not gradient[~kept].any(), "an ignored row has a gradient"


def reductions_agree(make: Factory, classes: int) -> None:
    """The sum is the mean times the rows, or their weights; the values, 0 where ignored, sum to it."""
    probe = make()
    logits, target = random_batch(probe, classes)
    mean, gradient = _value_and_gradient(probe, logits, target)
    total, gradient_of_total = _value_and_gradient(make(reduction="sum"), logits, target)
    rows = target.numel() if probe.weight is None else float(probe.weight[target].double().sum())
    _assert_close(total, mean * rows, "sum and mean times rows", 1e-8)
    _assert_close(gradient_of_total, gradient * rows, "gradients of sum and mean times rows", 1e-8)
    if probe.batch_level:
        _assert_refuses(lambda: make(reduction="none"), "reduction='none' on a batch-level loss")
        return
    target.view(-1)[0] = 255
    values, _ = _value_and_gradient(make(reduction="none", ignore_index=255), logits, target)
    total, _ = _value_and_gradient(make(reduction="sum", ignore_index=255), logits, target)
    assert values.shape == target.shape, f"values of shape {tuple(values.shape)}"
    assert values.view(-1)[0] == 0, "an ignored row has a value"
    _assert_close(values.sum(), total, "sum of the values and the sum", 1e-8)


def dense_equals_flattened(make: Factory, classes: int) -> None:
    """(N, C, H, W) gives the same value and gradient as its pixels as rows of (N·H·W, C)."""
    loss = make(ignore_index=255)
    if loss.spatial or loss.binary or loss.needs_index:
        return  # Pixels as rows would be so many samples, where an image is one.
    logits, target = random_batch(loss, classes, (2, 3, 4))
    target[0, 0] = 255
    value, gradient = _value_and_gradient(loss, logits, target)
    rows = logits.detach().movedim(1, -1).reshape(-1, classes).requires_grad_()
    flat, flat_gradient = _value_and_gradient(loss, rows, target.reshape(-1))
    _assert_close(value, flat, "values of dense and flattened")
    _assert_close(
        gradient.movedim(1, -1).reshape(-1, classes), flat_gradient, "gradients of dense and flattened"
    )


def order_does_not_matter(make: Factory, classes: int) -> None:
    """Permuting the samples permutes the gradient and leaves the value."""
    loss = make()
    logits, target = random_batch(loss, classes)
    if loss.stochastic:
        return
    order = torch.randperm(len(logits))
    value, gradient = _value_and_gradient(loss, logits, target)
    permuted, its_gradient = _value_and_gradient(loss, logits.detach()[order].requires_grad_(), target[order])
    _assert_close(permuted, value, "values of two orders")
    _assert_close(its_gradient, gradient[order], "gradients of two orders")


def onehot_equals_label(make: Factory, classes: int) -> None:
    """A loss that admits soft targets gives for a one-hot target what it gives for the label."""
    loss = make()
    logits, target = random_batch(loss, classes)
    if loss.binary:
        return
    onehot = torch.nn.functional.one_hot(target, classes).movedim(-1, 1).double()
    if not loss.soft_targets:
        _assert_refuses(lambda: value_of(loss, logits, onehot), "probabilities as targets")
        return
    value, gradient = _value_and_gradient(loss, logits, target)
    soft, soft_gradient = _value_and_gradient(loss, logits, onehot)
    _assert_close(soft, value, "values of label and one-hot")
    _assert_close(soft_gradient, gradient, "gradients of label and one-hot")


def equal_class_weights_change_nothing(make: Factory, classes: int) -> None:
    """Weights of 2 for every class leave the mean as it is."""
    loss = make()
    logits, target = random_batch(loss, classes)
    if loss.binary:
        return
    value, gradient = _value_and_gradient(loss, logits, target)
    weighted, weighted_gradient = _value_and_gradient(make(weight=torch.full((classes,), 2.0)), logits, target)
    _assert_close(weighted, value, "values with and without weights")
    _assert_close(weighted_gradient, gradient, "gradients with and without weights")


def terms_add_up(make: Factory, classes: int) -> None:
    """The named terms, weighted, sum to the loss, unless the rows have weights: the terms are plain means."""
    loss = make()
    if loss.weight is not None:
        return
    logits, target = random_batch(loss, classes)
    value, _ = _value_and_gradient(loss, logits, target)
    factors = loss.term_weights()
    total = sum((factors.get(name, 1.0) * term for name, term in loss.terms.items()), torch.zeros(()).double())
    _assert_close(value, total, "the loss and its terms")


def mistakes_are_refused(make: Factory, classes: int) -> None:
    """Wrong shapes, labels out of range, soft targets that are none, NaN and infinity raise InputError."""
    loss = make()
    logits, target = random_batch(loss, classes)
    _assert_refuses(lambda: value_of(loss, logits, target[:-1]), "a target of another length")
    _assert_refuses(lambda: value_of(loss, logits.detach().long(), target), "integer logits")
    _assert_refuses(lambda: value_of(loss, logits, torch.full_like(target, classes)), "a label out of range")
    for value in (torch.nan, torch.inf):
        broken = logits.detach().index_fill(0, torch.tensor([0]), value)
        _assert_refuses(lambda broken=broken: value_of(loss, broken, target), f"logits of {value}")  # type: ignore[misc]
    if loss.soft_targets and not loss.binary:
        _assert_refuses(lambda: value_of(loss, logits, logits.detach()), "a soft target of logits")
    if loss.needs_index:
        column = torch.arange(len(logits)).unsqueeze(1)
        _assert_refuses(lambda: loss(logits, target, index=column), "an index of two axes")


def _teach(loss: Loss, logits: Tensor, target: Tensor) -> None:
    """Let a loss that learns see a batch, and end the epoch, twice."""
    for _ in range(2):
        if "validation" in loss.observes:
            loss.observe(logits.detach(), target)
        if "train" in loss.observes:
            loss.observe(logits.detach(), target, index=torch.arange(len(logits)))
        loss.step_epoch()


def state_survives_a_round_trip(make: Factory, classes: int) -> None:
    """A loss restored from the state dict of another, which has learned, gives the same value."""
    loss, other = make(), make()
    logits, target = random_batch(loss, classes)
    _teach(loss, logits, target)
    other.load_state_dict(loss.state_dict())
    _assert_close(
        _value_and_gradient(other, logits, target)[0], _value_and_gradient(loss, logits, target)[0], "values"
    )


def a_cast_leaves_what_is_learned(make: Factory, classes: int) -> None:
    """A loss that is cast with its network learns on, and gives the same value but for rounding."""
    loss, cast = make(), make().half()
    logits, target = random_batch(loss, classes)
    for each in (loss, cast):
        _teach(each, logits, target)
    whole, _ = _value_and_gradient(loss, logits, target)
    tolerance = 0.01 * (1 + float(whole.abs().max()))
    _assert_close(_value_and_gradient(cast, logits, target)[0], whole, "values", tolerance)


def _assert_refuses(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except InputError as error:
        assert len(str(error)) > 20, f"{what}: the message {str(error)!r} does not say what was wrong"
        return
    raise AssertionError(f"{what} was not refused with InputError")


def check_compiled(make: Factory, *, num_classes: int = 5) -> None:
    """Check that `torch.compile(fullgraph=True)` gives the same value and gradient; seconds a loss.

    Args:
        make: as for `check_loss`.
        num_classes: C of the logits that it is tried on.
    """
    torch.manual_seed(0)
    loss = make(ignore_index=255)
    logits, target = random_batch(loss, num_classes, dtype=torch.float32)
    target.view(-1)[0] = 255
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=False)
    value, gradient = _value_and_gradient(loss, logits, target)
    torch.manual_seed(1)
    fused = value_of(compiled, logits, target)
    (fused_gradient,) = torch.autograd.grad(fused.sum(), logits)
    if not loss.stochastic:
        _assert_close(fused.detach(), value, "values eager and compiled", 2e-5)
        _assert_close(fused_gradient, gradient, "gradients eager and compiled", 2e-5)


CHECKS: tuple[Callable[[Factory, int], None], ...] = (
    gradient_agrees_with_finite_differences,
    value_is_finite_for_huge_logits,
    low_precision_is_computed_in_float32,
    nothing_to_count_gives_zero,
    ignored_equals_removed,
    reductions_agree,
    dense_equals_flattened,
    order_does_not_matter,
    onehot_equals_label,
    equal_class_weights_change_nothing,
    terms_add_up,
    mistakes_are_refused,
    state_survives_a_round_trip,
    a_cast_leaves_what_is_learned,
)
