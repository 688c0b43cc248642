r"""SC-BCE: binary cross-entropy against stochastically perturbed labels, for dense binary maps."""

import warnings
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Settings
from calibrant.losses.binary import DrawnLoss
from calibrant.losses.perturbed_labels import Granularity, perturb_labels, smooth_binary_labels
from calibrant.losses.registry import register

Technique = Literal["hard_inversion", "soft_inversion", "moderation", "dynamic_moderation"]

#: The strength of each published technique, and whether it adds noise.
TECHNIQUES: dict[str, tuple[float, bool]] = {
    "hard_inversion": (2.0, False),
    "soft_inversion": (1.5, False),
    "moderation": (1.0, False),
    "dynamic_moderation": (1.0, True),
}


@register("sc_bce")
class ScBCE(DrawnLoss):
    r"""Self-calibrating binary cross-entropy: BCE against stochastically perturbed labels.

    $$L = \mathrm{BCE}(z, t), \quad
    t = \begin{cases} (1-s)\,y + s/2 & \text{with probability } \alpha \\ y & \text{otherwise} \end{cases}$$

    In expectation, with $q = \alpha s / 2$, it is $\mathrm{BCE}(z, (1-2q)\,y + q) = \mathrm{BCE}(z, y) +
    q\,(2y-1)\,z$: plain BCE and a push against confident logits. The optimal confidence is $1 - q$. Special
    cases: alpha 0 is BCE; alpha 1 is label smoothing with factor s; strength 2 with alpha a/2 is DisturbLabel
    with rate a.

    Args:
        alpha: level, the probability that an image is drawn: one number, or (M,) with the level of each of M
            training images; then pass their positions as `index`.
        technique: a published pair of strength and noise: "hard_inversion" (s = 2, the default),
            "soft_inversion" (1.5, or another between 1 and 2 given as `strength`), "moderation" (1),
            "dynamic_moderation" (1, with noise).
        strength: s, above 0 and at most 2, instead of a technique.
        beta_code: the same in the published code's scale, s / 2.
        noise: whether what is drawn gets noise; that of the technique when None.
        mode: "expected", the expectation over the draw, in closed form; or "sampled", as published: the same
            loss and gradient on average, with more variance the stronger the technique.
        granularity: one draw for a whole "image", as published, or for each "pixel".
        generator: the source of the draws, saved in the state dict; PyTorch's own when None.
        allow_out_of_range: admit a strength above 2, which the published script uses: targets leave [0, 1] and
            the loss of a drawn image has no lower bound.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Shape:
        - logits: (N, 1, *); target: (N, 1, *) in [0, 1], or integers. See `BinaryLoss`.

    `realised` and `drawn` hold the labels and the draws of the last call.

    Raises:
        InputError: a level outside [0, 1], a strength out of range, $q \ge 1/2$ (which asks for inverted maps).

    Example:
        >>> import torch
        >>> loss = ScBCE(alpha=0.05)
        >>> loss(torch.tensor([[[2.0, -2.0]]]), torch.tensor([[[1, 0]]]))
        tensor(0.2269)
        >>> loss.realised
        tensor([[[0.9500, 0.0500]]])

    Liu, Ye, Wang, Cui, Zhang, Zhang, Barnes: "Model Calibration in Dense Classification with Adaptive Label
    Perturbation", ICCV 2023.
    """

    #: What the loss is called among the logged terms.
    term: ClassVar[str] = "sc_bce"

    alpha: float | Tensor

    def __init__(
        self,
        alpha: float | Tensor = 0.05,
        technique: Technique | None = None,
        *,
        strength: float | None = None,
        beta_code: float | None = None,
        noise: bool | None = None,
        mode: Literal["expected", "sampled"] = "expected",
        granularity: Granularity = "image",
        generator: torch.Generator | None = None,
        allow_out_of_range: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        check_choice("mode", mode, ("expected", "sampled"))
        check_choice("granularity", granularity, ("image", "pixel"))
        if beta_code is not None:
            if strength is not None:
                raise InputError(f"Give strength ({strength}) or beta_code ({beta_code}), its half, not both.")
            strength = 2 * beta_code
        self.strength = _strength(technique, strength, allow_out_of_range)
        self.noise = TECHNIQUES[technique or "hard_inversion"][1] if noise is None else noise
        self.mode, self.granularity, self.generator = mode, granularity, generator
        if mode == "sampled":
            self.stochastic = True
        self._set_levels(alpha, allow_out_of_range)
        self.realised: Tensor | None = None
        self.drawn: Tensor | None = None

    def level(self, batch: Batch) -> Tensor:
        """Return the level of each image of the batch, (N,). A loss that learns them overrides this."""
        if not isinstance(self.alpha, Tensor):
            return batch.logits.new_full((len(batch.logits),), self.alpha)
        assert batch.index is not None
        images = len(self.alpha)
        if self._looks_at(batch.logits) and ((batch.index < 0) | (batch.index >= images)).any():
            raise InputError(f"index must lie in [0, {images}), as alpha holds {images} levels.")
        return self.alpha[batch.index].to(batch.logits.dtype)

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each pixel with its perturbed label."""
        level = self.level(batch)
        if self.mode == "expected":
            strengths = (level * self.strength).view(-1, *[1] * (batch.target.dim() - 1))
            target, drawn = smooth_binary_labels(batch.target, strengths), None
        else:
            target, drawn = perturb_labels(
                batch.target,
                level,
                self.strength,
                noise=self.noise,
                granularity=self.granularity,
                generator=self.generator,
            )
        self.realised, self.drawn = target, drawn
        return {self.term: binary_cross_entropy_with_logits(batch.logits, target, reduction="none").squeeze(1)}

    def _set_levels(self, alpha: float | Tensor, allow_out_of_range: bool) -> None:
        levels = torch.as_tensor(alpha, dtype=torch.float64).detach()
        if levels.dim() > 1 or levels.numel() == 0:
            raise InputError(f"alpha must be one number or (M,), not of shape {tuple(levels.shape)}.")
        wrong = ~((levels >= 0) & (levels <= 1))
        if wrong.any():
            raise InputError(f"alpha is a probability, between 0 and 1, not {float(levels[wrong][0]):g}.")
        mass = float(levels.max()) * self.strength / 2
        if mass >= 0.5 and not allow_out_of_range:
            raise InputError(
                f"alpha {float(levels.max()):g} at strength {self.strength:g} flips a mass of {mass:g}, which "
                f"must stay below 0.5: lower alpha below {1 / self.strength:g}."
            )
        if levels.dim() == 0:
            self.alpha = float(alpha)
        else:
            self.needs_index = True
            self.register_buffer("alpha", levels, persistent=False)


def _strength(technique: str | None, strength: float | None, allow_out_of_range: bool) -> float:
    """Return the strength of a technique, or the one given if it fits."""
    if technique is not None and technique not in TECHNIQUES:
        raise InputError(f"technique must be one of {', '.join(TECHNIQUES)}, not {technique!r}.")
    preset = TECHNIQUES[technique or "hard_inversion"][0]
    if strength is None:
        return preset
    if technique == "soft_inversion" and not 1 < strength < 2:
        raise InputError(f"soft_inversion has a strength between 1 and 2, not {strength:g}.")
    if technique not in (None, "soft_inversion") and strength != preset:
        raise InputError(f"{technique} has strength {preset:g}; leave out the technique to use {strength:g}.")
    if strength <= 0 or (strength > 2 and not allow_out_of_range):
        raise InputError(
            f"strength must be above 0 and at most 2, the full inversion, not {strength:g}; with "
            "allow_out_of_range=True targets may leave [0, 1]."
        )
    if strength > 2:
        warnings.warn(
            f"Strength {strength:g} gives targets outside [0, 1]: the loss of a drawn image has no lower "
            "bound.",
            stacklevel=3,
        )
    return strength
