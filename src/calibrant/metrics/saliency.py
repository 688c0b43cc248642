r"""How well a grey map finds the salient object: MAE, F-measure, E-measure, S-measure.

Each is computed for an image and averaged over the images; curves over thresholds are averaged first. Two
protocols: "standard", the published measures as the evaluation tools of the field compute them; and "aslp", the
tool that came with ASLP, which differs in rounding, in thresholds, and in what becomes of uniform labels.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from calibrant.errors import InputError
from calibrant.metrics.saliency_image import CURVES, OF_OBJECTS, RULES, Protocol, Rules, measure


class SaliencyScores(NamedTuple):
    """Measures of saliency maps, float64 scalars; all but the first are better when higher.

    Attributes:
        mae: mean absolute error.
        max_f: F-measure at the best threshold.
        mean_f: F-measure averaged over the thresholds.
        adaptive_f: F-measure at twice the mean of the map.
        max_e: enhanced-alignment measure at the best threshold.
        mean_e: the same averaged over the thresholds.
        adaptive_e: the same at twice the mean of the map.
        s: structure measure.
        average_precision: area below the curve of precision over recall.
        auc: area below the curve of hits over false alarms.
    """

    mae: Tensor
    max_f: Tensor
    mean_f: Tensor
    adaptive_f: Tensor
    max_e: Tensor
    mean_e: Tensor
    adaptive_e: Tensor
    s: Tensor
    average_precision: Tensor
    auc: Tensor


class SaliencyState:
    """Running sums of the measures, of constant size.

    Args:
        protocol: "standard" or "aslp".

    Attributes:
        sums: by name; they add up over batches and processes.

    Example:
        >>> state = SaliencyState("standard")
        >>> state.update(torch.tensor([[0.9, 0.1], [0.6, 0.2]]), torch.tensor([[1, 0], [1, 0]]))
        >>> scores = state.scores()
        >>> round(float(scores.mae), 4), round(float(scores.max_f), 4)
        (0.125, 1.0)
    """

    def __init__(self, protocol: Protocol = "standard", sums: dict[str, Tensor] | None = None) -> None:
        if protocol not in RULES:
            raise InputError(f"protocol must be 'standard' or 'aslp', not {protocol!r}.")
        self.protocol, self.rules = protocol, RULES[protocol]
        self.sums = self.zeros(protocol) if sums is None else sums

    @staticmethod
    def zeros(protocol: Protocol) -> dict[str, Tensor]:
        """Return the sums over no image."""
        scalars = ("images", "objects", "mae", "s", "adaptive_f", "adaptive_e")
        zeros = {name: torch.zeros((), dtype=torch.float64) for name in scalars}
        size = RULES[protocol].thresholds
        return zeros | {name: torch.zeros(size, dtype=torch.float64) for name in CURVES}

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add an image.

        Args:
            prediction: (H, W) real in [0, 1], or uint8, where 255 is white.
            target: (H, W) real in [0, 1], bool, integers 0 and 1, or uint8, where 255 is white.

        Raises:
            InputError: maps of different shapes, empty maps, values outside [0, 1].
        """
        for name, value in measure(prediction, target, self.protocol).items():
            self.sums[name] = self.sums[name] + value.to(self.sums[name].device)

    def curves(self) -> dict[str, Tensor]:
        """Return the mean curves over the rising thresholds: precision, recall, false_alarms, f and e."""
        return {name: _mean(self.sums, name, self.rules) for name in CURVES}

    def scores(self) -> SaliencyScores:
        """Return the measures of all images.

        Under "standard", F, precision and recall are averaged over the images that have an object, and nan if
        none has; under "aslp" an image without one counts as 0.

        Raises:
            InputError: no image was added.
        """
        if self.sums["images"] == 0:
            raise InputError("There are no images to score: update the metric first.")
        return scores_of_sums(self.sums, self.protocol)


def scores_of_sums(sums: dict[str, Tensor], protocol: Protocol) -> SaliencyScores:
    """Return the measures from the sums of a `SaliencyState`, or of several in front, as (*,) and (*, K)."""
    rules = RULES[protocol]
    mean = {name: _mean(sums, name, rules) for name in sums}
    return SaliencyScores(
        mae=mean["mae"],
        max_f=mean["f"].amax(-1),
        mean_f=mean["f"].mean(-1),
        adaptive_f=mean["adaptive_f"],
        max_e=mean["e"].amax(-1),
        mean_e=mean["e"].mean(-1),
        adaptive_e=mean["adaptive_e"],
        s=mean["s"],
        average_precision=average_precision(mean["precision"], mean["recall"]),
        auc=area_below(mean["recall"], mean["false_alarms"], whole=rules.careful),
    )


def _mean(sums: dict[str, Tensor], name: str, rules: Rules) -> Tensor:
    total = sums["objects" if rules.careful and name in OF_OBJECTS else "images"]
    return sums[name] / (total.unsqueeze(-1) if name in CURVES else total)


def saliency_scores(
    predictions: Iterable[Tensor], targets: Iterable[Tensor], *, protocol: Protocol = "standard"
) -> SaliencyScores:
    r"""Score saliency maps of any sizes against their labels.

    With M the map at a threshold, y the label, and means taken over the pixels of an image:

    - MAE is $\overline{|p - y|}$.
    - F is $1.3\,PR / (0.3\,P + R)$ of precision P and recall R.
    - E is the mean of $(1 + 2ab/(a^2+b^2))^2/4$ with $a = M - \bar M$, $b = y - \bar y$.
    - S is half of a comparison within object and background, and half of the structural similarity of the four
      parts into which the centroid of the object divides the image.

    "standard" reads a label above 128 of 255 as object, stretches a map to its full range unless it is
    constant, takes 256 thresholds, and scores an image without object (or background) by the share of pixels
    that are right in E and by the mean of the map in S. "aslp" rounds both maps to 8 bits, keeps grey labels,
    stretches a map for all but MAE, a constant one to 0, takes 255 thresholds, and has no special cases.

    Args:
        predictions: (H, W) real in [0, 1] or uint8, one an image.
        targets: (H, W) labels, of the sizes of the predictions; see `SaliencyState.update`.
        protocol: "standard" or "aslp".

    Raises:
        InputError: as `SaliencyState`.

    Example:
        >>> labels = torch.eye(8).expand(3, 8, 8)
        >>> float(saliency_scores(0.8 * labels + 0.1, labels).mae)
        0.0

    F: Achanta et al., CVPR 2009. S: Fan et al., ICCV 2017. E: Fan et al., IJCAI 2018. The "standard" values are
    those of PySODMetrics; "aslp" follows the tool of Liu et al., ICCV 2023.
    """
    state = SaliencyState(protocol)
    for prediction, target in zip(predictions, targets, strict=True):
        state.update(prediction, target)
    return state.scores()


def average_precision(precision: Tensor, recall: Tensor) -> Tensor:
    """Return the area below a curve of precision over recall, made monotone from the right, (*, K) each.

    Example:
        >>> average_precision(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 0.5]))
        tensor(0.7500)
    """
    order = recall.argsort(stable=True)
    r = pad(pad(recall.gather(-1, order), (1, 0)), (0, 1), value=1.0)
    p = pad(precision.gather(-1, order), (1, 1)).flip(-1).cummax(-1).values.flip(-1)
    return (r.diff() * p[..., 1:]).sum(-1)


def area_below(hits: Tensor, false_alarms: Tensor, *, whole: bool = True) -> Tensor:
    """Return the area below a curve of hits over false alarms, (*, K) each.

    Args:
        hits: share of the object that is found.
        false_alarms: share of the background that is taken for object.
        whole: add the ends (0, 0) and (1, 1) of the curve; the tool of ASLP does not.

    Example:
        >>> area_below(torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.0]))
        tensor(0.8750)
    """
    if whole:
        hits, false_alarms = (pad(pad(x, (1, 0)), (0, 1), value=1.0) for x in (hits, false_alarms))
    order = hits.argsort(stable=True)
    order = order.gather(-1, false_alarms.gather(-1, order).argsort(stable=True))
    return torch.trapezoid(hits.gather(-1, order), false_alarms.gather(-1, order))
