r"""ASLP: label perturbation whose level is learned for each training image.

After the training batch that holds image i, with $\alpha_i$ its level, $b$ half the strength, and $G_i$ its
mean signed logit $\overline{(2y-1)\,z}$,

$$\alpha_i \leftarrow \alpha_i + \eta \, (G_i / b + \lambda R_i)$$

then kept between 0 and just below $1/2b$, where the expected label would be even. $R_i \le 0$ is a constraint
on the accuracy of the last validation; the two flavours differ in it alone.
"""

import warnings
from collections.abc import Iterable
from typing import Literal, TypeVar, Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Settings
from calibrant.losses.label_perturbation import ScBCE, Technique
from calibrant.losses.multipliers import sum_over_processes
from calibrant.losses.perturbed_labels import Granularity, image_stats
from calibrant.losses.registry import register

Id = TypeVar("Id")
Preset = Literal["stable", "reference"]

#: The step size of the published script, and the weight of its constraint.
PUBLISHED_ETA, PUBLISHED_LAMBDA = 0.002, 2000.0
#: What the preset "stable" makes of eta * lambda * b.
STABLE = 0.8
#: The published code clamps probabilities to 1e-7, which bounds a logit at about this.
SATURATED = 16.118
#: Distance from the largest level to which the published code returns a level that reaches it.
BELOW_LIMIT = 0.01


class Perturbation(Settings, total=False):
    """How a drawn image is perturbed; `ScBCE` says what each is."""

    technique: Technique | None
    strength: float | None
    beta_code: float | None
    noise: bool | None
    granularity: Granularity
    generator: torch.Generator | None
    allow_out_of_range: bool


class Rule(Perturbation, total=False):
    """What both flavours take by keyword; `ASLPMC` says what each is."""

    mode: Literal["expected", "sampled"]
    warmup: int
    grad_scale: Literal["inverse", "paper"]


class AdaptiveScBCE(ScBCE):
    r"""SC-BCE with learned levels; a subclass says what the constraint R is.

    Use in a loop of your own, with `index` the positions of the images in the training set:

    1. `loss(logits, target, index=index)` and then `loss.observe(logits, target, index=index)` for every
       training batch, with the clean labels;
    2. `loss.observe(logits, target)` for every validation batch;
    3. `loss.step_epoch()`.

    A level takes effect at the end of the epoch in which it was computed, over all processes; an image seen
    twice in an epoch gets the mean of its two levels. All of it is in the state dict.
    """

    alpha: Tensor
    accuracy: Tensor
    best: Tensor
    epoch: Tensor
    right: Tensor
    pixels: Tensor
    proposed: Tensor
    touched: Tensor

    def __init__(
        self,
        num_samples: int,
        *,
        mode: Literal["expected", "sampled"] = "sampled",
        eta: float = PUBLISHED_ETA,
        lam: float = PUBLISHED_LAMBDA,
        warmup: int = 5,
        grad_scale: Literal["inverse", "paper"] = "inverse",
        **settings: Unpack[Perturbation],
    ) -> None:
        if num_samples < 1:
            raise InputError(f"num_samples must be the number of training images, not {num_samples}.")
        super().__init__(torch.zeros(num_samples), mode=mode, **settings)
        check_choice("grad_scale", grad_scale, ("inverse", "paper"))
        if warmup < 1:
            raise InputError(f"warmup must be at least 1, not {warmup}: no accuracy is known before.")
        self.warmup, self.grad_scale = warmup, grad_scale
        self.eta, self.lam = eta, lam
        self._register_state(num_samples)

    def _register_state(self, num_samples: int) -> None:
        self.register_buffer("alpha", torch.zeros(num_samples))
        self.register_buffer("proposed", torch.zeros(num_samples))
        self.register_buffer("touched", torch.zeros(num_samples))
        self.register_buffer("accuracy", torch.tensor(torch.nan, dtype=torch.float64))
        self.register_buffer("best", torch.tensor(torch.nan, dtype=torch.float64))
        for name in ("epoch", "right", "pixels"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    @property
    def b(self) -> float:
        """Half the strength: the scale of the published code."""
        return self.strength / 2

    @property
    def observes(self) -> frozenset[Literal["train", "validation"]]:
        """Both: margins come from training batches, the accuracy from those of validation."""
        return frozenset({"train", "validation"})

    def constraint(self, alpha: Tensor) -> Tensor:
        """Return R of images with these levels, at most 0."""
        raise InputError(f"{type(self).__name__} must define constraint(alpha).")

    def raised(self, alpha: Tensor, margin: Tensor) -> Tensor:
        r"""Return $\alpha + \eta (G/b + \lambda R)$ of levels and margins, (n,) each, without bounds."""
        gain = margin / self.b if self.grad_scale == "inverse" else margin * self.b
        return alpha + self.eta * (gain + self.lam * self.constraint(alpha))

    def bounded(self, alpha: Tensor) -> Tensor:
        """Return levels put back into their range; one that reaches the limit falls 0.01 below it."""
        limit = 1 / self.strength
        if limit > 1:
            return alpha.clamp(0, 1)
        return torch.where(alpha >= limit, limit - BELOW_LIMIT, alpha.clamp(min=0))

    @torch.no_grad()
    def observe(self, logits: Tensor, target: Tensor, *, index: Tensor | None = None) -> None:
        """Take note of the margins of a training batch, or of the accuracy of a validation batch.

        Args:
            logits: (N, 1, *).
            target: the clean labels.
            index: (N,) positions in the training set; None for a batch of validation.

        Raises:
            InputError: the warm-up is over and no validation batch was ever observed.
        """
        batch = self.prepare(logits, target, index)
        if index is None:
            hit = (batch.logits >= 0) == (batch.target >= 0.5)
            valid = torch.ones_like(hit) if batch.valid is None else batch.valid.unsqueeze(1)
            self.right += (hit & valid).sum()
            self.pixels += valid.sum()
            return
        if self.epoch < self.warmup:
            return
        if self.accuracy.isnan():
            raise InputError(
                f"{type(self).__name__} learns its levels from the accuracy on validation, and has seen none: "
                "call observe(logits, target) on validation batches, and step_epoch after each epoch."
            )
        z = batch.logits.clamp(-SATURATED, SATURATED)
        margin = image_stats(z, batch.target, valid=batch.valid).margin
        level = self.bounded(self.raised(self.level(batch), margin))
        self.proposed.index_add_(0, index, level.to(self.proposed.dtype))
        self.touched.index_add_(0, index, torch.ones_like(index, dtype=self.touched.dtype))

    @torch.no_grad()
    def step_epoch(self) -> None:
        """Give the images that were seen their new levels, and take the accuracy of the validation."""
        sum_over_processes(self.proposed, self.touched, self.right, self.pixels)
        mean = self.proposed / self.touched.clamp(min=1)
        self.alpha.copy_(torch.where(self.touched > 0, mean, self.alpha))
        if self.pixels > 0:
            self.accuracy.copy_(self.right.double() / self.pixels)
            self.best.copy_(torch.fmax(self.best, self.accuracy))
        for gathered in (self.proposed, self.touched, self.right, self.pixels):
            gathered.zero_()
        self.epoch += 1

    def levels_table(self, ids: Iterable[Id]) -> list[tuple[Id, float]]:
        """Return the id and the level of every training image, the most perturbed first.

        Args:
            ids: what to call the images, in the order of the training set.

        Raises:
            InputError: not one id for each level.
        """
        names, levels = list(ids), self.alpha.tolist()
        if len(names) != len(levels):
            raise InputError(f"{len(names)} ids do not fit {len(levels)} levels: give one for each image.")
        return sorted(zip(names, levels, strict=True), key=lambda row: -row[1])


@register("aslp_mc")
class ASLPMC(AdaptiveScBCE):
    r"""Adaptive label perturbation for model calibration (ASLP_MC): SC-BCE with a learned level an image.

    The loss is that of `ScBCE`; the levels follow the rule of this module with

    $$R_i = \min\big( (1 - A) - b \, \alpha_i, \; 0 \big)$$

    A is the pixel accuracy of the last validation and $1 - b \alpha_i$ the expected confidence of the labels of
    image i: a level rises with the margin of its image, until its labels are less sure than the network is
    accurate. In the first `warmup` epochs all levels are 0, which is plain binary cross-entropy.

    Where the constraint is active a level converges to $(1 - A)/b + G/\lambda b^2$ if $\eta \lambda b < 2$,
    without overshoot if $\eta \lambda b \le 1$; otherwise it jumps up and down for ever, and a warning says so.

    Args:
        num_samples: M, the number of training images; their levels are keyed by position, `index` in [0, M).
        technique: as in `ScBCE`; hard inversion by default.
        strength: as in `ScBCE`: s = 2b, at most 2.
        beta_code: b, in the published code's scale. The published script trains with 2, which is a strength of
            4 and needs `allow_out_of_range`.
        noise: as in `ScBCE`.
        mode: "sampled", as published; or "expected", the same on average and without variance.
        granularity: as in `ScBCE`.
        generator: the source of the draws, saved in the state dict; PyTorch's own when None.
        allow_out_of_range: as in `ScBCE`.
        preset: "stable", $\eta = 0.002$ and $\lambda = 0.8 / \eta b$; or "reference", 0.002 and 2000 as in the
            published script, where levels do not converge.
        eta: $\eta$. Published: 0.002.
        lam: $\lambda$ instead of the preset's.
        warmup: epochs before the levels move, at least 1. Published: 5.
        grad_scale: "inverse", G / b, as the published code; or "paper", b G, as the figure of the paper.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Shape:
        - logits: (N, 1, *); target: (N, 1, *) in [0, 1], or integers; index: (N,) int64.

    `alpha` holds the levels (M,), `accuracy` and `best` the last and the best accuracy of validation.

    Raises:
        InputError: as `ScBCE`, and for `observe` without any validation.

    Example:
        >>> import torch
        >>> loss = ASLPMC(num_samples=3, warmup=1)
        >>> maps, sure = torch.tensor([[[1, 0]]]), torch.tensor([[[6.0, -6.0]]])
        >>> loss.observe(sure, maps)
        >>> loss.step_epoch()
        >>> loss.observe(sure, maps, index=torch.tensor([1]))
        >>> loss.step_epoch()
        >>> loss.levels_table("abc")
        [('b', 0.012000000104308128), ('a', 0.0), ('c', 0.0)]

    Liu, Ye, Wang, Cui, Zhang, Zhang, Barnes: "Model Calibration in Dense Classification with Adaptive Label
    Perturbation", ICCV 2023.
    """

    def __init__(
        self,
        num_samples: int,
        *,
        preset: Preset = "stable",
        eta: float = PUBLISHED_ETA,
        lam: float | None = None,
        **settings: Unpack[Rule],
    ) -> None:
        check_choice("preset", preset, ("stable", "reference"))
        super().__init__(num_samples, eta=eta, lam=PUBLISHED_LAMBDA if lam is None else lam, **settings)
        if lam is None and preset == "stable":
            if not eta > 0:
                raise InputError(f"eta must lie above 0, not {eta}: lam follows from it where it is not given.")
            self.lam = STABLE / (eta * self.b)
        if (factor := self.eta * self.lam * self.b) >= 2:
            warnings.warn(
                f"eta * lam * b is {factor:g}: from 2 on the levels do not converge but jump; use "
                f"preset='stable', or lower lam below {2 / (self.eta * self.b):g}.",
                stacklevel=2,
            )

    def constraint(self, alpha: Tensor) -> Tensor:
        r"""Return $\min((1 - A) - b \alpha, 0)$."""
        return ((1 - self.accuracy).to(alpha.dtype) - self.b * alpha).clamp(max=0)


@register("aslp_mei")
class ASLPMEI(AdaptiveScBCE):
    r"""Adaptive label perturbation that keeps the accuracy (ASLP_MEI): as unsure as it can be at no cost.

    Maximum entropy inference: as `ASLPMC`, but with one constraint for all images,

    $$R = \min( A - A_{\mathrm{ref}}, \; 0 )$$

    so that all levels rise with their margins as long as the pixel accuracy A of the last validation is at
    least the reference, and fall once it is below.

    **Not verified against code.** The published code holds the calibration flavour alone. R is taken from the
    overview figure of the paper, $\min(A(\theta, \mathrm{VAL}) - A(\theta_{lm}, \mathrm{VAL}), 0)$, and put
    into the step of that code. The figure does not say what $\theta_{lm}$ is; "best" takes for its accuracy
    the best one seen so far, which the published code computes and only prints.

    Nothing in R depends on the level, so that no product of $\eta$ and $\lambda$ makes the step diverge by
    itself: a level moves by $\eta (G/b + \lambda R)$ an epoch and stops at its bounds. So $\lambda$ needs no
    damping: with the published 2000 a loss of accuracy of 0.2 points outweighs a margin of G/b = 4.

    Args:
        num_samples: M, the number of training images.
        eta: $\eta$. Published: 0.002.
        lam: $\lambda$. Published, for the other flavour: 2000.
        reference: "best", the best accuracy of validation so far; or a number in [0, 1], the accuracy of a
            network trained by plain cross-entropy, say.
        **settings: as in `ASLPMC`.

    Example:
        >>> loss = ASLPMEI(num_samples=3, reference=0.95)
        >>> _ = loss.accuracy.fill_(0.94)
        >>> loss.constraint(loss.alpha)
        tensor(-0.0100)

    Liu, Ye, Wang, Cui, Zhang, Zhang, Barnes: "Model Calibration in Dense Classification with Adaptive Label
    Perturbation", ICCV 2023.
    """

    def __init__(
        self,
        num_samples: int,
        *,
        reference: Literal["best"] | float = "best",
        eta: float = PUBLISHED_ETA,
        lam: float = PUBLISHED_LAMBDA,
        **settings: Unpack[Rule],
    ) -> None:
        super().__init__(num_samples, eta=eta, lam=lam, **settings)
        if reference != "best" and not (isinstance(reference, int | float) and 0 <= reference <= 1):
            raise InputError(f"reference must be 'best' or an accuracy between 0 and 1, not {reference!r}.")
        self.reference = reference

    def constraint(self, alpha: Tensor) -> Tensor:
        r"""Return $\min(A - A_{\mathrm{ref}}, 0)$, one number for all images."""
        reference = self.best if isinstance(self.reference, str) else self.reference
        return (self.accuracy - reference).clamp(max=0).to(alpha.dtype)
