"""Every registered metric passes the common battery, and the battery catches what it is for."""

from functools import partial

import pytest
import torch

from calibrant.errors import InputError
from calibrant.metrics import ECE, CalibrationMetric, create, list_metrics
from calibrant.metrics.definitions import DEFINITIONS
from calibrant.testing import check_metric

NEEDED = {
    "group_accuracy": {"class_counts": [500, 200, 90, 30, 5]},
    "segmentation": {"include_background": True},
}


# Saliency maps are no rows of classes: test_saliency.py.
@pytest.mark.parametrize("name", sorted(set(list_metrics()) - {"saliency"}))
def test_every_metric_passes_the_battery(name):
    check_metric(partial(create, name, num_classes=5, **NEEDED.get(name, {})))


@pytest.mark.parametrize("name", [n for n in DEFINITIONS if "samples" in DEFINITIONS[n].parts])
def test_battery_holds_beyond_the_exact_limit(name):
    check_metric(partial(create, name, num_classes=5, exact_limit=25))


class KeepsLastBatch(ECE):
    def update(self, values, target):
        self.reset()
        super().update(values, target)


class TakesAnything(CalibrationMetric):
    name = "ece"

    def update(self, values, target):
        super().update(values.nan_to_num(), target.clamp(0, values.shape[1] - 1))


@pytest.mark.parametrize(
    ("broken", "check"), [(KeepsLastBatch, "batches_do_not_matter"), (TakesAnything, "ignored_is_removed")]
)
def test_battery_catches(broken, check):
    with pytest.raises(AssertionError, match=check):
        check_metric(broken)


def test_options_are_checked():
    with pytest.raises(InputError, match="has no option 'threshold'"):
        ECE(inputs="probs", threshold=0.1)
    with pytest.raises(InputError, match=r"no option 'bins'; did you mean 'n_bins'|no option 'bins'"):
        create("ece", inputs="probs", bins=3)
    with pytest.raises(InputError, match="needs inputs"):
        ECE()
    with pytest.raises(InputError, match="give num_classes"):
        create("classwise_ece", inputs="probs")
    with pytest.raises(InputError, match="needs include_background"):
        create("segmentation", inputs="probs", num_classes=3)
    with pytest.raises(InputError, match="did you mean 'ece'"):
        create("eec", inputs="probs")
    with pytest.raises(InputError, match="did you mean 'netcal'"):
        ECE(inputs="probs", convention="netcall")
    with pytest.raises(InputError, match="average must be one of"):
        ECE(inputs="probs", average="epoch")
    with pytest.raises(InputError, match="made for 3"):
        create("classwise_ece", inputs="probs", num_classes=3).update(torch.eye(4), torch.arange(4))
