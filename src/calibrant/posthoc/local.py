"""Local temperature scaling: a small network gives each pixel of a map its own temperature."""

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, pad

from calibrant.errors import InputError
from calibrant.labels import counted
from calibrant.posthoc.base import Calibrator, ConvergenceWarning, check_classes
from calibrant.posthoc.registry import register
from calibrant.posthoc.temperature import TemperatureScaling

#: Pixels that go through the network at a time.
_CHUNK = 1 << 16
#: The local factor lies between exp(-_REACH) and exp(_REACH).
_REACH = 3.0
#: Log-probabilities below are as good as this one, to the network.
_LEAST = -15.0
_NAMES = ("first_", "first_bias_", "second_", "second_bias_", "last_", "last_bias_")


@register("local_temperature")
class LocalTemperatureScaling(Calibrator):
    r"""Divide the logits of each pixel by a temperature that a small network reads from its neighbourhood.

    $$\hat z_x = \frac{z_x}{T_x}, \quad T_x = T \exp\left(g_\theta(\ln p, I)_x\right), \quad
      \min_\theta -\frac1N \sum_x \log \mathrm{softmax}(z_x / T_x)_{y_x}$$

    T is that of `TemperatureScaling`. The network g has two convolutions of 3 x 3 and one of 1 x 1, reads the
    log-probabilities of the scaled logits and, where given, the image, and starts at 0; L-BFGS fits it in
    float64. The paper's network is a tree of convolutions of 5 x 5. The problem is not convex: what is kept is
    never worse than one temperature for all on the data of the fit. Classes keep their order.

    Args:
        hidden: channels of the network.
        steps: L-BFGS steps, at most.
        pixels: of more than this many, evenly spaced maps are fitted to.
        seed: of the first weights.

    Attributes:
        temperature_: T.
        converged_: whether L-BFGS stopped before its last step.

    Shape:
        - logits: (N, C, H, W); (N, C) and (N, C, L) are maps of width 1. The output keeps shape, type and
          device.
        - images: (N, I, H, W), optional, in `fit` and in use alike.

    Raises:
        InputError: images in use but not in the fit, or the reverse, or of another size than the maps; as
            `Calibrator.fit` says; when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(8, 3, 16, 16, generator=generator)
        >>> noise = -torch.empty_like(logits).exponential_(generator=generator).log()
        >>> target = (logits + noise).argmax(1)  # drawn from the softmax
        >>> logits[..., 8:] *= 4  # too sure on the right, where the classes differ more
        >>> local = LocalTemperatureScaling(steps=20).fit(logits, target)
        >>> one = TemperatureScaling().fit(logits, target)
        >>> bool(cross_entropy(local(logits), target) < cross_entropy(one(logits), target))
        True

    Ding, Han, Liu, Niethammer: "Local temperature scaling for probability calibration", ICCV 2021.
    """

    keeps_argmax = True
    equivariant = False
    spatial = True

    temperature_: Tensor
    classes_: Tensor
    first_: Tensor

    def __init__(self, hidden: int = 16, steps: int = 50, pixels: int = 1 << 18, seed: int = 0) -> None:
        super().__init__()
        if min(hidden, steps, pixels) < 1:
            raise InputError(f"hidden, steps and pixels must be 1 or more, not {hidden}, {steps} and {pixels}.")
        self.hidden, self.steps, self.pixels, self.seed = hidden, steps, pixels, seed
        self.register_buffer("classes_", torch.zeros((), dtype=torch.int64))
        self.register_buffer("temperature_", torch.ones((), dtype=torch.float64))
        for name in _NAMES:
            self.register_buffer(name, torch.zeros(0, dtype=torch.float64))

    def fit(
        self,
        logits: Tensor,
        target: Tensor,
        ignore_index: int | Iterable[int] | None = None,
        images: Tensor | None = None,
    ) -> Self:
        """Fit to held-out maps; arguments, result and errors are those of `Calibrator.fit`, and images."""
        logits = logits.detach()
        rows, labels = self.checked(logits, target, ignore_index)
        with warnings.catch_warnings():
            # Where T has no minimum, its bound is a start like any other.
            warnings.simplefilter("ignore", ConvergenceWarning)
            scaling = TemperatureScaling().fit(rows, labels)
        maps = _maps(logits)
        given = _images(images, maps)
        device = logits.device
        self.temperature_ = scaling.temperature_.to(device)
        self.classes_ = torch.tensor(logits.shape[1], device=device)
        channels = maps.shape[1] + (0 if given is None else given.shape[1])
        weights = self._first_weights(channels, device)
        self._take(weights)
        truth = _maps(target.unsqueeze(1)).squeeze(1).long()
        if (valid := counted(truth, ignore_index)) is not None:
            truth = truth.masked_fill(~valid, -100)
        data = _Maps(maps, truth, given, len(labels))
        before = self._nll(data)
        self._minimise(data.thinned(self.pixels), weights)
        if not self._nll(data) <= before:
            self._take(self._first_weights(channels, device))
        return self

    def forward(self, logits: Tensor, images: Tensor | None = None) -> Tensor:
        """Return z / T(x)."""
        check_classes(self, int(self.classes_), logits)
        work = torch.promote_types(logits.dtype, torch.float32)
        maps = _maps(logits).to(work)
        given = _images(images, maps)
        expected = self.first_.shape[1] - maps.shape[1]
        if (0 if given is None else given.shape[1]) != expected:
            raise InputError(
                f"{type(self).__name__} was fitted to images of {expected} channels; give such images, and "
                "none if there were none."
            )
        weights = [getattr(self, name).to(maps) for name in _NAMES]
        scaled = maps / self.temperature_.to(maps)
        return (scaled * (-_local(scaled, given, weights)).exp()).to(logits.dtype).reshape(logits.shape)

    def extra_repr(self) -> str:
        """Show T and the size of the network."""
        return f"temperature={float(self.temperature_):.6g}, hidden={self.hidden}"

    def _first_weights(self, channels: int, device: torch.device) -> list[Tensor]:
        """Return random weights of which the last are 0, so that the local factor is 1."""
        generator = torch.Generator().manual_seed(self.seed)
        weights = []
        for out, into, size in ((self.hidden, channels, 3), (self.hidden, self.hidden, 3)):
            weight = torch.randn(out, into, size, size, generator=generator, dtype=torch.float64)
            weights += [weight * math.sqrt(2 / (into * size**2)), torch.zeros(out, dtype=torch.float64)]
        weights += [torch.zeros(1, self.hidden, 1, 1).double(), torch.zeros(1).double()]
        return [weight.to(device) for weight in weights]

    def _take(self, weights: list[Tensor]) -> None:
        for name, weight in zip(_NAMES, weights, strict=True):
            self._buffers[name] = weight.detach().clone()

    @torch.enable_grad()
    def _minimise(self, data: "_Maps", weights: list[Tensor]) -> None:
        for weight in weights:
            weight.requires_grad_()
        optimizer = torch.optim.LBFGS(
            weights,
            max_iter=self.steps,
            tolerance_grad=1e-7,
            tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )

        def closure() -> float:
            optimizer.zero_grad()
            total = 0.0
            for maps, truth, images in data.chunks():
                scaled = maps / self.temperature_
                factor = (-_local(scaled, images, weights)).exp()
                loss = cross_entropy(scaled * factor, truth, reduction="sum") / data.count
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            return total

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        self._take(weights)
        self.converged_ = optimizer.state[weights[0]]["n_iter"] < self.steps

    @torch.no_grad()
    def _nll(self, data: "_Maps") -> float:
        total = 0.0
        for maps, truth, images in data.chunks():
            total += float(cross_entropy(self.forward(maps, images), truth, reduction="sum"))
        return total / data.count


class _Maps:
    """Maps (N, C, H, W), labels (N, H, W) with -100 where they do not count, images, and how many count."""

    def __init__(self, maps: Tensor, truth: Tensor, images: Tensor | None, count: int) -> None:
        self.maps, self.truth, self.images, self.count = maps, truth, images, count

    def thinned(self, pixels: int) -> "_Maps":
        """Return evenly spaced maps, of no more labels that count than `pixels`, but at least one map."""
        per_map = (self.truth != -100).flatten(1).sum(1)
        useful = per_map.nonzero().squeeze(1)
        chosen = useful[:: max(1, math.ceil(self.count / pixels))]
        images = None if self.images is None else self.images[chosen]
        return _Maps(self.maps[chosen], self.truth[chosen], images, int(per_map[chosen].sum()))

    def chunks(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield some maps at a time in float64; what an ignored label leaves undefined is 0."""
        step = max(1, _CHUNK // max(1, self.truth[0].numel()))
        for start in range(0, len(self.maps), step):
            part = slice(start, start + step)
            truth = self.truth[part]
            maps = self.maps[part].double()
            images = None if self.images is None else self.images[part].double()
            yield torch.where((truth == -100).unsqueeze(1) & ~maps.isfinite(), 0.0, maps), truth, images


def _local(scaled: Tensor, images: Tensor | None, weights: list[Tensor]) -> Tensor:
    """Return the (N, 1, H, W) logarithm of the local factor, between -_REACH and _REACH."""
    first, first_bias, second, second_bias, last, last_bias = weights
    seen = scaled.log_softmax(1).clamp_min(_LEAST) / -_LEAST
    if images is not None:
        seen = torch.cat([seen, images.to(seen)], 1)
    hidden = conv2d(_edged(seen), first, first_bias).relu()
    hidden = conv2d(_edged(hidden), second, second_bias).relu()
    return _REACH * torch.tanh(conv2d(hidden, last, last_bias) / _REACH)


def _edged(maps: Tensor) -> Tensor:
    """Repeat the outermost pixels, so that the edge of a map is nothing special."""
    return pad(maps, (1, 1, 1, 1), mode="replicate") if maps.numel() else pad(maps, (1, 1, 1, 1))


def _maps(values: Tensor) -> Tensor:
    """Return (N, C, H, W) of rows, sequences or maps."""
    if values.dim() > 4:
        raise InputError(f"Local temperatures are for maps (N, C, H, W), not for shape {tuple(values.shape)}.")
    return values.reshape(*values.shape, *[1] * (4 - values.dim()))


def _images(images: Tensor | None, maps: Tensor) -> Tensor | None:
    if images is None:
        return None
    if images.dim() != 4 or len(images) != len(maps) or images.shape[2:] != maps.shape[2:]:
        raise InputError(
            f"Images of shape {tuple(images.shape)} do not fit maps of shape {tuple(maps.shape)}: give "
            "(N, I, H, W) of the same N, H and W."
        )
    return images
