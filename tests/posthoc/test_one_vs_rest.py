"""Binary calibrators agree with scikit-learn and netcal where the definitions coincide."""

import math
import sys

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from calibrant.errors import InputError
from calibrant.posthoc import (
    BetaCalibration,
    ConvergenceWarning,
    HistogramBinning,
    IsotonicCalibration,
    PlattScaling,
    ScalingBinning,
)
from calibrant.posthoc.one_vs_rest import log_shares


def binary(n: int = 1000, slope: float = 0.5, offset: float = 0.3) -> tuple[Tensor, Tensor]:
    """Return logits (n, 2) whose difference s is right as sigmoid(slope * s + offset)."""
    generator = torch.Generator().manual_seed(0)
    score = 3 * torch.randn(n, generator=generator, dtype=torch.float64)
    target = torch.bernoulli(torch.sigmoid(slope * score + offset), generator=generator).long()
    return torch.stack([torch.zeros_like(score), score], 1), target


def many(n: int = 600, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return 2 * logits, torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)


def positive(calibrated: Tensor) -> Tensor:
    return calibrated.softmax(1)[:, 1]


def test_platt_scaling_is_that_of_scikit_learn() -> None:
    logits, target = binary()
    x, y = (logits[:, 1] - logits[:, 0]).numpy().reshape(-1, 1), target.numpy()
    classifier = LogisticRegression().fit(x, y)
    theirs = CalibratedClassifierCV(FrozenEstimator(classifier), method="sigmoid", ensemble=False, cv=2).fit(
        x, y
    )
    score = torch.from_numpy(classifier.decision_function(x))
    ours = PlattScaling().fit(torch.stack([torch.zeros_like(score), score], 1), target)
    got = positive(ours(torch.stack([torch.zeros_like(score), score], 1)))
    assert torch.allclose(got, torch.from_numpy(theirs.predict_proba(x)[:, 1]), atol=1e-4)
    assert ours.converged_


def test_platt_scaling_without_smoothing_is_logistic_regression() -> None:
    logits, target = binary()
    fitted = PlattScaling(smoothing=False).fit(logits, target)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits[:, 1:].numpy(), target.numpy())
    assert fitted.coefficients_[0].tolist() == pytest.approx(
        [float(theirs.coef_[0, 0]), float(theirs.intercept_[0])], rel=1e-4
    )


def test_smoothing_keeps_the_slope_finite() -> None:
    logits = torch.tensor([[0.0, -1.0], [0.0, -2.0], [0.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    target = torch.tensor([0, 0, 1, 1])
    assert PlattScaling().fit(logits, target).converged_
    with pytest.warns(ConvergenceWarning, match="no most likely slope") as caught:
        fitted = PlattScaling(smoothing=False).fit(logits, target)
    assert caught[0].filename == __file__
    assert not fitted.converged_


def test_beta_calibration_holds_to_its_signs() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(5000, 2, generator=generator, dtype=torch.float64)
    log_p, log_rest = (part[:, 1] for part in log_shares(logits))
    target = torch.bernoulli(torch.sigmoid(-log_p - 2 * log_rest), generator=generator).long()
    a, b, _ = BetaCalibration().fit(logits, target).coefficients_[0].tolist()
    assert a == 0
    assert b > 0


def test_beta_calibration_of_calibrated_scores_is_the_identity() -> None:
    logits, target = binary(50_000, slope=1.0, offset=0.0)
    assert BetaCalibration().fit(logits, target).coefficients_[0].tolist() == pytest.approx([1, 1, 0], abs=0.1)


def test_isotonic_calibration_is_that_of_scikit_learn() -> None:
    logits, target = binary()
    p = logits.softmax(1)[:, 1].numpy()
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p[:500], target[:500].numpy())
    ours = positive(IsotonicCalibration().fit(logits[:500], target[:500])(logits))
    expected = torch.from_numpy(theirs.predict(p)).clamp(1 / 1002, 1 - 1 / 1002)
    assert torch.allclose(ours, expected, atol=1e-9)


def test_isotonic_calibration_of_many_classes_is_normalised_one_vs_rest() -> None:
    logits, target = many()
    p = logits.softmax(1).numpy()
    theirs = np.stack(
        [IsotonicRegression().fit_transform(p[:, k], (target == k).double().numpy()) for k in range(4)], 1
    )
    theirs = theirs.clip(1 / (4 * 601), 1 - 1 / (4 * 601))
    ours = IsotonicCalibration().fit(logits, target)(logits).exp()
    assert torch.allclose(ours, torch.from_numpy(theirs / theirs.sum(1, keepdims=True)), atol=1e-9)


def test_without_scikit_learn_isotonic_calibration_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.isotonic", None)
    with pytest.raises(InputError, match="needs scikit-learn; pip install"):
        IsotonicCalibration().fit(*binary(20))


def test_histogram_binning_is_that_of_netcal() -> None:
    from netcal.binning import HistogramBinning as Theirs

    logits, target = binary(5000)
    p = logits.softmax(1)[:, 1].numpy()
    theirs = Theirs(bins=10).fit(p, target.numpy()).transform(p)
    ours = positive(HistogramBinning(n_bins=10, edges="equal_width").fit(logits, target)(logits))
    assert torch.allclose(ours, torch.from_numpy(np.asarray(theirs, dtype=np.float64)), atol=1e-9)


def test_bins_of_equal_mass_hold_as_many_rows() -> None:
    logits, target = binary(1000)
    fitted = HistogramBinning(n_bins=10).fit(logits, target)
    _, counts = positive(fitted(logits)).unique(return_counts=True)
    assert counts.sum() == 1000
    assert (counts % 100 == 0).all()


def test_tied_scores_stay_in_one_bin() -> None:
    logits = torch.tensor([[0.0, 1.0]] * 6 + [[0.0, 2.0]] * 2)
    fitted = HistogramBinning(n_bins=4).fit(logits, torch.tensor([1, 0, 1, 0, 1, 0, 1, 0]))
    assert positive(fitted(logits)).tolist() == pytest.approx([0.5] * 8)


def test_scaling_binning_is_the_mean_of_platt_scaling_in_each_bin() -> None:
    logits, target = binary(1000)
    scaled = positive(PlattScaling().fit(logits, target)(logits))
    got = positive(ScalingBinning(n_bins=5).fit(logits, target)(logits))
    expected = scaled.sort().values.reshape(5, 200).mean(1)
    assert torch.allclose(got.unique(), expected, atol=1e-12)


def test_log_shares_are_exact_where_the_difference_cancels() -> None:
    log_p, log_rest = log_shares(torch.tensor([[0.0, 100.0, -3.0]], dtype=torch.float64))
    assert log_rest[0, 1].item() == pytest.approx(-100 + math.log1p(math.exp(-3)), rel=1e-12)
    assert log_rest[0, 0].item() == pytest.approx(-math.exp(-100), rel=1e-12)
    assert torch.allclose(log_p, torch.tensor([[0.0, 100.0, -3.0]]).double().log_softmax(1))


@pytest.mark.parametrize("make", [HistogramBinning, ScalingBinning])
def test_no_bins_are_refused(make: type[HistogramBinning]) -> None:
    with pytest.raises(InputError, match="n_bins must be 1 or more, not 0"):
        make(n_bins=0)


def test_unknown_edges_are_refused() -> None:
    with pytest.raises(InputError, match="edges must be 'equal_mass' or 'equal_width', not 'mass'"):
        HistogramBinning(edges="mass")  # type: ignore[arg-type]


def test_use_before_the_fit_and_other_classes_are_refused() -> None:
    logits, target = many()
    with pytest.raises(InputError, match="PlattScaling is not fitted"):
        PlattScaling()(logits)
    with pytest.raises(InputError, match="was fitted to 4 classes"):
        PlattScaling().fit(logits, target)(logits[:, :3])
