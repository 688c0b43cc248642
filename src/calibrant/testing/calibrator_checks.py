"""The battery that every calibrator must pass: `check_calibrator(MyCalibrator)` in a test runs it all."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.posthoc.base import Calibrator, ConvergenceWarning

Factory = Callable[[], Calibrator]


def check_calibrator(make: Factory, *, num_classes: int = 5) -> None:
    """Run every check of this module on a calibrator, as far as the attributes of its class promise it.

    Args:
        make: builds a calibrator that has not been fitted.
        num_classes: C of the logits that it is tried on.

    Raises:
        AssertionError: naming the check that failed.

    Example:
        >>> from calibrant.posthoc import TemperatureScaling
        >>> check_calibrator(TemperatureScaling)
    """
    with warnings.catch_warnings():
        # Some of the data have no most likely calibration; what the fit does then is what is checked.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for check in CHECKS:
            try:
                check(make, num_classes)
            except AssertionError as error:
                raise AssertionError(f"{check.__name__}: {error}") from error


def predictions(num_classes: int, samples: int = 400, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Return over-confident float32 logits (N, C) and their labels, always the same."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(samples, num_classes, generator=generator)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return scale * logits, target


def keeps_shape_type_and_device(make: Factory, classes: int) -> None:
    """(N, C, *) of any real type and device comes back as such, finite."""
    logits, target = predictions(classes)
    calibrator = make().fit(logits, target)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            for shape in ((7, classes), (2, classes, 3, 4), (0, classes)):
                given = torch.randn(shape).to(device, dtype)
                got = calibrator(given)
                assert got.shape == given.shape, f"shape {tuple(got.shape)} from {tuple(given.shape)}"
                assert got.dtype == dtype, f"{got.dtype} from {dtype}"
                assert got.device == given.device, f"on {got.device} from {given.device}"
                assert got.isfinite().all(), "the result is not finite"


def state_dict_holds_the_fit(make: Factory, classes: int) -> None:
    """A new calibrator that loads the state gives the same result, bit by bit."""
    logits, target = predictions(classes)
    fitted, other = make().fit(logits, target), make()
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other(logits), fitted(logits)), "the result differs after load_state_dict"


def a_cast_leaves_the_fit(make: Factory, classes: int) -> None:
    """A calibrator that is cast with the network in front of it gives the same result."""
    logits, target = predictions(classes)
    fitted = make().fit(logits, target)
    before = fitted(logits)
    assert torch.equal(fitted.half().float()(logits), before), "the result differs after .half()"


def fit_is_deterministic(make: Factory, classes: int) -> None:
    """Two fits agree bit by bit, whatever the global random state, and the random state is left alone."""
    logits, target = predictions(classes)
    torch.manual_seed(1)
    first = make().fit(logits, target)(logits)
    state = torch.manual_seed(2).get_state()
    second = make().fit(logits, target)(logits)
    assert torch.equal(first, second), "two fits differ"
    assert torch.equal(torch.get_rng_state(), state), "fit draws from the global generator"


def fit_leaves_its_arguments_alone(make: Factory, classes: int) -> None:
    """Logits and labels are not written to, and need no gradient afterwards."""
    logits, target = predictions(classes)
    given = logits.clone().requires_grad_()
    calibrator = make().fit(given, target)
    assert torch.equal(given, logits), "fit wrote to the logits"
    assert not any(buffer.requires_grad for buffer in calibrator.buffers()), (
        "a fitted value requires a gradient"
    )


def fit_returns_itself(make: Factory, classes: int) -> None:
    """`fit` returns the calibrator."""
    calibrator = make()
    assert calibrator.fit(*predictions(classes)) is calibrator, "fit returns something else"


def nll_is_never_worse_than_none(make: Factory, classes: int) -> None:
    """On the data of the fit the likelihood does not fall: over-, under-confident, calibrated, all right."""
    if not make().improves_nll:
        return
    for scale in (0.2, 1.0, 3.0, 50.0):
        logits, target = predictions(classes, scale=scale)
        _assert_not_worse(make, logits, target, f"logits {scale} times too large")
    logits, _ = predictions(classes)
    _assert_not_worse(make, logits, logits.argmax(1), "every prediction right")
    _assert_not_worse(make, logits, logits.argmin(1), "every prediction wrong")


def _assert_not_worse(make: Factory, logits: Tensor, target: Tensor, what: str) -> None:
    wide = logits.double()
    after = torch.nn.functional.cross_entropy(make().fit(wide, target)(wide), target)
    before = torch.nn.functional.cross_entropy(wide, target)
    assert after <= before * (1 + 1e-9) + 1e-12, (
        f"{what}: NLL {float(after):.6g} after, {float(before):.6g} before"
    )


def argmax_stays(make: Factory, classes: int) -> None:
    """The largest logit of each row stays the largest, alone or tied."""
    if not make().keeps_argmax:
        return
    for scale in (0.2, 3.0, 50.0):
        logits, target = predictions(classes, scale=scale)
        after = make().fit(logits, target)(logits)
        same = after.gather(1, logits.argmax(1, keepdim=True)).squeeze(1) == after.amax(1)
        assert same.all(), (
            f"logits {scale} times too large: {int((~same).sum())} rows get another largest logit"
        )


def classes_have_no_order(make: Factory, classes: int) -> None:
    """Classes that are renamed before the fit give the result, renamed."""
    if not make().equivariant:
        return
    logits, target = (t.double() if t.is_floating_point() else t for t in predictions(classes))
    order = torch.arange(classes).roll(1)
    plain = make().fit(logits, target)(logits).softmax(1)
    renamed = make().fit(logits[:, order], order.argsort()[target])(logits[:, order]).softmax(1)
    difference = float((plain[:, order] - renamed).abs().max())
    assert difference < 1e-5, f"a probability differs by {difference:.2g}"


def a_class_without_labels_is_no_obstacle(make: Factory, classes: int) -> None:
    """Labels that lack a class, be there many or a single one, give a finite result or are refused."""
    logits, target = predictions(classes)
    for what, kept in (("one class lacks", target > 0), ("one label alone", target == target[0])):
        for rows in (len(target), 1):
            chosen = kept.nonzero().squeeze(1)[:rows]
            try:
                calibrator = make().fit(logits[chosen], target[chosen])
            except InputError:
                continue
            assert calibrator(logits).isfinite().all(), f"{what}, {len(chosen)} rows: the result is not finite"


def arguments_build_it_again(make: Factory, classes: int) -> None:
    """`arguments` and the state make an equal calibrator."""
    fitted = make().fit(*predictions(classes))
    other = type(fitted)(**fitted.arguments())
    other.load_state_dict(fitted.state_dict())
    given = predictions(classes)[0]
    assert torch.equal(other(given), fitted(given)), "the result differs"


def dense_equals_flattened(make: Factory, classes: int) -> None:
    """(N, C, H, W) maps give the fit of their pixels as rows, unless a pixel sees its neighbours."""
    if make().spatial:
        return
    logits, target = predictions(classes)
    flat = make().fit(logits, target)
    maps = logits.reshape(4, 10, 10, classes).movedim(-1, 1)
    dense = make().fit(maps, target.reshape(4, 10, 10))
    assert torch.allclose(dense(logits), flat(logits), rtol=1e-6, atol=1e-6), "dense and flattened fits differ"


def ignored_equals_removed(make: Factory, classes: int) -> None:
    """Ignored labels count nowhere, be there one or several, and whatever their logits hold."""
    logits, target = predictions(classes)
    kept = make().fit(logits[2:], target[2:])
    target[0], target[1] = 255, -1
    logits[0] = float("nan")
    ignoring = make().fit(logits, target, ignore_index=[255, -1])
    assert torch.allclose(ignoring(logits[2:]), kept(logits[2:]), rtol=1e-6, atol=1e-6), "the fits differ"


def low_precision_is_close(make: Factory, classes: int) -> None:
    """Half-precision logits give nearly the fit of the same logits in float32."""
    logits, target = predictions(classes)
    for dtype in (torch.bfloat16, torch.float16):
        low = logits.to(dtype)
        difference = (make().fit(low, target)(logits) - make().fit(low.float(), target)(logits)).abs().max()
        assert difference < 1e-3, f"{dtype} differs by {float(difference):.2g}"


def mistakes_are_refused(make: Factory, classes: int) -> None:
    """Nothing to fit, NaN, infinity, wrong labels and wrong shapes raise `InputError`."""
    logits, target = predictions(classes)
    poisoned, infinite, wrong = logits.clone(), logits.clone(), target.clone()
    poisoned[3, 1], infinite[4, 0], wrong[5] = float("nan"), float("inf"), classes
    cases = {
        "no rows": (logits[:0], target[:0], None),
        "all rows ignored": (logits, torch.full_like(target, 255), 255),
        "NaN": (poisoned, target, None),
        "infinity": (infinite, target, None),
        "a label out of range": (logits, wrong, None),
        "a target of the wrong shape": (logits, target[:-1], None),
        "a target of floats": (logits, target.float(), None),
        "one class": (logits[:, :1], target * 0, None),
    }
    for what, arguments in cases.items():
        try:
            make().fit(*arguments)
        except InputError:
            continue
        raise AssertionError(f"{what} is not refused with InputError")


CHECKS: tuple[Callable[[Factory, int], None], ...] = (
    keeps_shape_type_and_device,
    fit_leaves_its_arguments_alone,
    state_dict_holds_the_fit,
    a_cast_leaves_the_fit,
    fit_is_deterministic,
    fit_returns_itself,
    nll_is_never_worse_than_none,
    argmax_stays,
    classes_have_no_order,
    a_class_without_labels_is_no_obstacle,
    arguments_build_it_again,
    dense_equals_flattened,
    ignored_equals_removed,
    low_precision_is_close,
    mistakes_are_refused,
)
