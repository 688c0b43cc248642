r"""Classifiers for the second stage on long-tailed data: $z = \mathrm{diag}(s)\,(r W + \Delta W)^\top x$."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calibrant.errors import InputError

Decay = Literal["sum", "delta"]


class ScaledLinear(nn.Module):
    r"""The combined classifier: a share of a trained layer, a learned shift and a learned scale a class.

    $$z = s \odot \big((r W + \Delta W)\,x + r b + \Delta b\big)$$

    | method | s | r | shift | constructor |
    |---|---|---|---|---|
    | cRT | 1 | 0 | learned from a random draw | `crt` |
    | LWS | learned from 1 | 1 | 0 | `lws` |
    | MiSLAS | learned from 1 | 1 | learned from 0 | `mislas` |

    The scale multiplies the bias too, as published.

    Args:
        weight: (K, D) weight W of the trained layer.
        bias: (K,) its bias b; None for none.
        retain: r. With 0 nothing is kept, and the shift starts at the random draw of `torch.nn.Linear`; else
            it starts at 0.
        learn_scale: learn s; it is 1 otherwise.
        learn_shift: learn the shift; it stays at its start otherwise.
        decay: what weight decay pulls to 0: "sum", the whole r W + shift, as published, or "delta", the shift
            alone, which pulls the classifier back to the one it came from.

    Shape:
        - features: (N, D); logits: (N, K).

    Raises:
        InputError: shapes that do not fit, an unknown `decay`, nothing to learn.

    Example:
        >>> linear = nn.Linear(3, 2)
        >>> head = ScaledLinear.mislas(linear)
        >>> x = torch.randn(4, 3)
        >>> torch.equal(head(x), linear(x))
        True
        >>> [group["name"] for group in head.parameter_groups()]
        ['classifier', 'scale']

    Zhong, Cui, Liu, Jia: "Improving Calibration for Long-Tailed Recognition", CVPR 2021.
    """

    scale: Tensor
    weight: Tensor
    bias: Tensor | None
    kept_weight: Tensor | None
    kept_bias: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        retain: float = 1.0,
        *,
        learn_scale: bool = True,
        learn_shift: bool = True,
        decay: Decay = "sum",
    ) -> None:
        super().__init__()
        if weight.dim() != 2 or (bias is not None and bias.shape != weight.shape[:1]):
            got = f"{tuple(weight.shape)} and {None if bias is None else tuple(bias.shape)}"
            raise InputError(f"A classifier has a weight (K, D) and a bias (K,), not {got}.")
        if decay not in ("sum", "delta"):
            raise InputError(f"decay must be 'sum' or 'delta', not {decay!r}.")
        if not (learn_scale or learn_shift):
            raise InputError("Nothing is learned: set learn_scale or learn_shift to true.")
        self.retain, self.decay = retain, decay
        self.learn_scale, self.learn_shift = learn_scale, learn_shift
        for name, values in (("weight", weight), ("bias", bias)):
            kept = None if values is None else retain * values.detach()
            start = None if kept is None else _start(kept, weight.shape[1], random=retain == 0)
            if kept is not None and start is not None and decay == "sum":
                start, kept = kept + start, None
            self.register_buffer(f"kept_{name}", kept)
            self._hold(name, start, learn_shift)
        self._hold("scale", torch.ones_like(weight[:, 0]).detach(), learn_scale)

    def _hold(self, name: str, values: Tensor | None, learned: bool) -> None:
        if learned and values is not None:
            self.register_parameter(name, nn.Parameter(values))
        else:
            self.register_buffer(name, values)

    @classmethod
    def crt(cls, linear: nn.Linear, *, decay: Decay = "sum") -> "ScaledLinear":
        """Classifier re-training: forget the layer and learn another from a random draw.

        Kang et al.: "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020.
        """
        return cls(linear.weight, linear.bias, 0.0, learn_scale=False, decay=decay)

    @classmethod
    def lws(cls, linear: nn.Linear, *, decay: Decay = "sum") -> "ScaledLinear":
        """Learnable weight scaling: keep the layer and learn one factor a class.

        Kang et al.: "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020.
        """
        return cls(linear.weight, linear.bias, learn_shift=False, decay=decay)

    @classmethod
    def mislas(cls, linear: nn.Linear, *, decay: Decay = "sum") -> "ScaledLinear":
        """Learn on from the layer, slowly, and one factor a class at the full rate.

        Zhong et al.: "Improving Calibration for Long-Tailed Recognition", CVPR 2021.
        """
        return cls(linear.weight, linear.bias, decay=decay)

    def linear(self) -> tuple[Tensor, Tensor | None]:
        """Return weight (K, D) and bias (K,) before the scale."""
        weight = self.weight if self.kept_weight is None else self.kept_weight + self.weight
        if self.bias is None or self.kept_bias is None:
            return weight, self.bias
        return weight, self.kept_bias + self.bias

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        return self.scale * F.linear(features, *self.linear())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what is learned as groups of an optimiser: "classifier" (the slow one) and "scale"."""
        scale = [p for name, p in self.named_parameters() if name == "scale"]
        classifier = [p for name, p in self.named_parameters() if name != "scale"]
        groups = {"classifier": classifier, "scale": scale}
        return [{"name": name, "params": params} for name, params in groups.items() if params]

    @torch.no_grad()
    def fold(self) -> nn.Linear:
        """Return one plain layer with the same logits, for export."""
        weight, bias = self.linear()
        return _as_linear(self.scale[:, None] * weight, None if bias is None else self.scale * bias)

    def extra_repr(self) -> str:
        """Show what the head does."""
        classes, width = self.weight.shape
        return (
            f"{width}, {classes}, retain={self.retain:g}, learn_scale={self.learn_scale}, "
            f"learn_shift={self.learn_shift}, decay={self.decay}"
        )


class NormedLinear(nn.Module):
    r"""The cosine classifier of LDAM: features and rows of the weight have length 1, and there is no bias.

    $$z_k = \frac{w_k^\top x}{\lVert w_k \rVert \lVert x \rVert}$$

    In training mode it gives the cosines, which `LDAM` multiplies by its own scale; in evaluation mode
    `factor` times the cosines, so that the softmax is that of the trained network. The published code leaves
    the factor out at test time: its probabilities are nearly uniform and their calibration error meaningless.

    Args:
        in_features: D.
        out_features: K.
        factor: the scale that the loss trains with; 30 published.

    Shape:
        - features: (N, D); output: (N, K).

    Example:
        >>> head = NormedLinear(3, 2)
        >>> x = torch.randn(4, 3)
        >>> torch.equal(head.eval()(x), 30 * head.train()(x))
        True

    Cao, Wei, Gaidon, Arechiga, Ma: "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    NeurIPS 2019.
    """

    def __init__(self, in_features: int, out_features: int, factor: float = 30.0) -> None:
        super().__init__()
        if factor <= 0:
            raise InputError(f"factor must be above 0, not {factor}.")
        self.in_features, self.out_features, self.factor = in_features, out_features, factor
        self.weight = nn.Parameter(F.normalize(2 * torch.rand(out_features, in_features) - 1, dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Return the cosines in training, the logits in evaluation."""
        cosines = F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))
        return cosines if self.training else self.factor * cosines

    def extra_repr(self) -> str:
        """Show the sizes and the factor."""
        return f"{self.in_features}, {self.out_features}, factor={self.factor:g}"


@torch.no_grad()
def tau_normalise(linear: nn.Linear, tau: float, *, keep_bias: bool = False) -> nn.Linear:
    r"""Return a classifier with the rows $w_k / \lVert w_k \rVert^\tau$; nothing is trained.

    Args:
        linear: the trained classifier. A row of zeros stays as it is.
        tau: 0 leaves the rows as they are, 1 gives all the same length; published: the best of 0, 0.1, …, 2 on
            validation.
        keep_bias: keep the bias; published without.

    Example:
        >>> linear = nn.Linear(2, 2)
        >>> linear.weight.data = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
        >>> tau_normalise(linear, 1.0).weight
        Parameter containing:
        tensor([[0.6000, 0.8000],
                [0.0000, 1.0000]], requires_grad=True)

    Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis: "Decoupling Representation and Classifier for Long-Tailed
    Recognition", ICLR 2020.
    """
    norms = linear.weight.norm(dim=1, keepdim=True)
    norms = torch.where(norms > 0, norms, torch.ones_like(norms))
    return _as_linear(linear.weight / norms**tau, linear.bias if keep_bias else None)


def _start(like: Tensor, width: int, *, random: bool) -> Tensor:
    """Return where a shift starts: at 0, or at what `torch.nn.Linear` draws for its weight and bias alike."""
    return (2 * torch.rand_like(like) - 1) / width**0.5 if random else torch.zeros_like(like)


def _as_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.clone())
    if bias is not None:
        linear.bias = nn.Parameter(bias.clone())
    return linear
