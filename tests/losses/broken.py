"""Losses that each break one promise: the battery must notice every one."""

import torch

from calibrant.losses.base import Loss
from calibrant.losses.cross_entropy import cross_entropy


class Sound(Loss):
    def formula(self, batch):
        return {"ce": cross_entropy(batch)}


class WrongGradient(Loss):
    def formula(self, batch):
        rows = cross_entropy(batch)
        return {"ce": rows.detach() + 0.5 * (rows - rows.detach())}


class NaiveSoftmax(Loss):
    def formula(self, batch):
        return {"ce": -batch.at_target(batch.logits.exp() / batch.logits.exp().sum(1, keepdim=True)).log()}


class HalfPrecision(Sound):
    def forward(self, logits, target, *, index=None):
        return super().forward(logits, target, index=index).to(logits.dtype)


class MeanOfNothing(Sound):
    def forward(self, logits, target, *, index=None):
        return super().forward(logits, target, index=index) * target.numel() / (target != 255).sum()


class CountsIgnored(Loss):
    def formula(self, batch):
        return {"ce": cross_entropy(batch), "pull": batch.logits.square().mean()}


class SumIsMean(Sound):
    def forward(self, logits, target, *, index=None):
        value = super().forward(logits, target, index=index)
        return value / target.numel() if self.reduction == "sum" else value


class FlattensWrongly(Loss):
    def formula(self, batch):
        pixels = max(batch.logits[0, 0].numel(), 1)
        return {"ce": cross_entropy(batch) / pixels}


class SeesOrder(Loss):
    def formula(self, batch):
        rank = torch.arange(len(batch.logits), dtype=batch.logits.dtype)
        return {"ce": (1 + rank.reshape(-1, *[1] * (batch.logits.dim() - 2))) * cross_entropy(batch)}


class SmoothsLabelsOnly(Loss):
    def formula(self, batch):
        return {"ce": cross_entropy(batch) * (1.0 if batch.soft else 0.9)}


class WeighsTwice(Sound):
    def _combine(self, batch, terms):
        value = super()._combine(batch, terms)
        return value if self.weight is None else value * self.weight.mean()


class HidesATerm(Loss):
    def formula(self, batch):
        return {"ce": cross_entropy(batch), "extra": cross_entropy(batch)}

    def forward(self, logits, target, *, index=None):
        value = super().forward(logits, target, index=index)
        del self.terms["extra"]
        return value


class NeverLooks(Sound):
    check_values = False


class ForgetsItsState(Sound):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.factor = float(torch.rand(()))

    def formula(self, batch):
        return {"ce": self.factor * cross_entropy(batch)}


class CountsInHalf(Sound):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.register_buffer("rows", torch.zeros(()))

    def observe(self, logits, target, *, index=None):
        # From 2048 on, half precision holds even numbers alone.
        for _ in range(3000):
            self.rows += 1

    def formula(self, batch):
        return {"ce": float(self.rows) * cross_entropy(batch)}


BROKEN = {
    "gradient_agrees_with_finite_differences": WrongGradient,
    "value_is_finite_for_huge_logits": NaiveSoftmax,
    "low_precision_is_computed_in_float32": HalfPrecision,
    "nothing_to_count_gives_zero": MeanOfNothing,
    "ignored_equals_removed": CountsIgnored,
    "reductions_agree": SumIsMean,
    "dense_equals_flattened": FlattensWrongly,
    "order_does_not_matter": SeesOrder,
    "onehot_equals_label": SmoothsLabelsOnly,
    "equal_class_weights_change_nothing": WeighsTwice,
    "terms_add_up": HidesATerm,
    "mistakes_are_refused": NeverLooks,
    "state_survives_a_round_trip": ForgetsItsState,
    "a_cast_leaves_what_is_learned": CountsInHalf,
}
