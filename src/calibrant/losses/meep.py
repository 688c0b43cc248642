r"""Maximum entropy on erroneous predictions (MEEP): doubt is asked for where the network is wrong."""

from typing import Literal, Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.cross_entropy import cross_entropy
from calibrant.losses.registry import register


def entropy_per_class(log_p: Tensor) -> Tensor:
    """Return the mean over the classes of the entropy of "this class or not", of (N, C, *): (N, *)."""
    p = log_p.exp()
    rest = 1 - p
    # The clamp keeps the slope of x log x finite at 0; x log x itself is 0 there.
    tiny = torch.finfo(p.dtype).tiny
    return -(p * p.clamp(min=tiny).log() + rest * rest.clamp(min=tiny).log()).mean(1)


@register("meep")
class MEEP(Loss):
    r"""Cross-entropy, and a reward for entropy on the rows whose prediction is wrong.

    $$L = \frac{1}{n} \sum_i -\log p_{y_i} - \lambda \, \frac{1}{|W|} \sum_{i \in W} H(p_i),
    \quad W = \{i : \arg\max_k z_{ik} \ne y_i\}$$

    Where no row is wrong the second term is 0. Which rows are wrong carries no gradient. Made for segmentation,
    where W are pixels; it is defined on a batch as a whole, since the mean runs over W.

    Args:
        alpha: $\lambda$, at least 0. Published: 0.3.
        kind: "entropy" as above; "uniform" adds $+\lambda \, \mathrm{mean}_k(-\log p_k)$ on W, the
            cross-entropy from the uniform distribution (MEEP-KL).
        entropy: "classes", the entropy of the prediction; "per_class", as in the published code, the mean over
            the classes of the entropy of "this class or not": the same for two classes.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`; weights are those of the cross-entropy.

    Example:
        >>> import torch
        >>> loss = MEEP(alpha=0.3)
        >>> loss(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
        tensor(1.0173)
        >>> loss.terms
        {'ce': tensor(1.1269), 'wrong_entropy': tensor(0.3653)}

    Larrazabal, Martinez, Dolz, Ferrante: "Maximum Entropy on Erroneous Predictions: Improving Model Calibration
    for Medical Image Segmentation", MICCAI 2023.
    """

    batch_level = True

    def __init__(
        self,
        alpha: float = 0.3,
        *,
        kind: Literal["entropy", "uniform"] = "entropy",
        entropy: Literal["classes", "per_class"] = "classes",
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if not alpha >= 0:
            raise InputError(f"alpha must be at least 0, not {alpha}.")
        check_choice("kind", kind, ("entropy", "uniform"))
        check_choice("entropy", entropy, ("classes", "per_class"))
        self.alpha, self.kind, self.entropy = alpha, kind, entropy

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row, and the mean doubt of the wrong ones."""
        log_p = batch.logits.log_softmax(1)
        if self.kind == "uniform":
            doubt = -log_p.mean(1)
        elif self.entropy == "classes":
            doubt = -(log_p.exp() * log_p).sum(1)
        else:
            doubt = entropy_per_class(log_p)
        wrong = batch.keep(1 - batch.correct())
        mean = (wrong * doubt).sum() / wrong.sum().clamp(min=1)
        return {"ce": cross_entropy(batch), f"wrong_{self.kind}": mean}

    def term_weights(self) -> dict[str, float]:
        """Weigh the doubt by alpha: entropy is rewarded, the distance from the uniform punished."""
        return {"wrong_entropy": -self.alpha, "wrong_uniform": self.alpha}
