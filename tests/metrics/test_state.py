"""The streaming state: its sums against plain computation, its size, its errors."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.errors import InputError
from calibrant.metrics import State, functional, rows
from calibrant.metrics.binning import CONVENTIONS, bin_index, convention
from calibrant.metrics.classwise import _plain, _sparse
from calibrant.metrics.equal_mass import aece_error_bound, equal_mass_bins
from calibrant.metrics.rows import checked
from calibrant.metrics.samples import COARSE, FINE, Grid
from calibrant.metrics.state import PART_NAMES, Spec
from calibrant.metrics.views import brier_decomposition, ece
from tests.metrics.data import sample


def slow_bins(confidence, correct, n_bins):
    """Return count, confidence and correct by bin, one sample at a time."""
    sums = [[0, 0.0, 0] for _ in range(n_bins)]
    for c, r in zip(confidence.double().tolist(), correct.tolist(), strict=True):
        b = max(k for k in range(n_bins) if k == 0 or c > k / n_bins)
        sums[b][0] += 1
        sums[b][1] += c
        sums[b][2] += r
    return [torch.tensor(x) for x in zip(*sums, strict=True)]


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), n_bins=st.integers(1, 30), classes=st.integers(2, 6))
def test_top_label_bins_equal_a_slow_loop(seed, n_bins, classes):
    probs, target = sample(60, classes, seed, torch.float32)
    state = State({"top"}, classes, n_bins)
    state.update(probs, target, inputs="probs")
    count, confidence, correct = slow_bins(probs.amax(1), probs.argmax(1) == target, n_bins)
    bins = state.bins()
    assert torch.equal(bins.count, count)
    assert torch.equal(bins.correct, correct)
    assert torch.allclose(bins.confidence.float(), confidence, atol=1e-5)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    n_bins=st.integers(1, 30),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    name=st.sampled_from(["calibrant", "netcal"]),
    pixels=st.sampled_from([1, 7]),
)
def test_classwise_sums_equal_the_plain_computation(seed, n_bins, dtype, name, pixels):
    probs, target = sample(45 * pixels, 5, seed, dtype)
    probs[0] = torch.tensor([1.0, 0, 0, 0, 0])
    values, labels = probs.reshape(45, pixels, 5).movedim(2, 1), target.reshape(45, pixels)
    labels[3] = 77
    found = []
    for of in (_sparse, _plain):
        (piece,) = checked(values, labels, inputs="probs", ignore_index=77).pieces()
        found.append(of(piece, n_bins, convention(name), True))
    assert (
        found[0].keys()
        == found[1].keys()
        == Spec(frozenset({"class", "class_squares"}), 5).zeros().keys() - {"total"}
    )
    for key in found[0]:
        assert torch.allclose(found[0][key], found[1][key], atol=1e-6 if dtype == torch.float32 else 1e-12), key


def test_pieces_do_not_matter(monkeypatch):
    probs, target = sample(5 * 24, 4)
    values, labels = probs.reshape(5, 24, 4).movedim(2, 1), target.reshape(5, 24)
    labels[1, :7] = 9
    found = []
    for size in (1 << 21, 4, 37, 200):
        monkeypatch.setitem(rows.PIECE, "cpu", size)
        state = State(PART_NAMES, 4)
        state.update(values, labels, inputs="probs", ignore_index=9)
        found.append(state)
    for state in found[1:]:
        for name, tensor in state.sums.items():
            assert torch.allclose(tensor, found[0].sums[name], atol=1e-12), name
        assert torch.equal(
            torch.cat(state.samples["each_correct"]), torch.cat(found[0].samples["each_correct"])
        )


def test_brier_parts_sum_to_the_score():
    probs, target = sample(500, 6)
    state = State({"class", "class_squares", "brier"}, 6)
    state.update(probs, target, inputs="probs")
    parts = brier_decomposition(state.class_bins())
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    assert torch.isclose(total, parts.score, atol=1e-12)
    onehot = torch.nn.functional.one_hot(target, 6)
    assert torch.isclose(parts.score, (probs - onehot).square().sum(1).mean(), atol=1e-12)
    assert torch.isclose(parts.score, state.sums["brier_sum"] / 500, atol=1e-12)
    frequency = onehot.double().mean(0)
    assert torch.isclose(parts.uncertainty, (frequency * (1 - frequency)).sum(), atol=1e-12)
    # Confidences that are constant within each bin leave nothing hidden in it.
    coarse = torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64).repeat(50, 1)
    state = State({"class", "class_squares"}, 2)
    state.update(coarse, torch.arange(100) % 3 % 2, inputs="probs")
    assert abs(float(brier_decomposition(state.class_bins()).within_bins)) < 1e-12


@pytest.mark.parametrize("grid", [FINE, COARSE, Grid(2, 3)])
def test_cells_rise_with_the_confidence(grid):
    values = torch.cat([torch.linspace(0, 1, 5001), 1 - torch.logspace(-8, 0, 500), torch.logspace(-8, 0, 500)])
    values = values.double().sort().values
    index = grid.index(values)
    assert (index.diff() >= 0).all()
    assert int(index.min()) == 0
    assert int(index.max()) == grid.cells - 1
    assert torch.equal(index, grid.index(values.float().double()).where(values.float() == values, index))


def test_a_cell_is_narrow():
    values = torch.rand(20_000, dtype=torch.float64)
    index = FINE.index(values)
    for cell in index.unique()[::500]:
        inside = values[index == cell]
        distance = torch.minimum(inside, 1 - inside)
        assert float(distance.max() / distance.min()) <= 1 + 1 / 512 + 1e-6


@pytest.mark.parametrize("sharpness", [1.0, 4.0, 12.0])
@pytest.mark.parametrize("n_bins", [5, 15, 100])
def test_aece_of_the_histogram_is_within_its_bound(sharpness, n_bins):
    probs, target = sample(4000, sharpness=sharpness)
    target = torch.where(torch.arange(4000) % 3 == 0, 0, target)
    rule = convention("calibrant")
    found = []
    for limit in (10**6, 10):
        state = State({"samples"}, 10, exact_limit=limit)
        state.update(probs, target, inputs="probs")
        found.append(state.cells())
    exact, close = (ece(equal_mass_bins(cells, n_bins, rule)) for cells in found)
    bound = aece_error_bound(found[1], n_bins)
    assert abs(exact - close) <= bound
    assert aece_error_bound(found[0], n_bins) == 0
    assert bound < 0.05 * n_bins / 15
    with pytest.raises(InputError, match="with a higher exact_limit"):
        equal_mass_bins(found[1], n_bins, convention("guo2017"))


def test_size_of_a_state():
    def size(*parts):
        return sum(t.numel() * t.element_size() for t in Spec(frozenset(parts), 1000).zeros().values())

    assert size("top") < 1000
    assert size("class", "labels") < 1_000_000
    assert size("samples") < 1_000_000


def test_states_of_different_kinds_do_not_merge():
    with pytest.raises(InputError, match="same metric"):
        State({"top"}, 3).merge(State({"top"}, 3, n_bins=10))


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_index_is_a_bin(name):
    rule = convention(name)
    values = torch.rand(1000, dtype=torch.float64).clamp(min=1e-3)
    for bins in (2, 15):
        index = bin_index(values, bins, rule)
        assert 0 <= int(index.min()) <= int(index.max()) < rule.bins(bins)


def test_pairs_are_checked():
    state = State({"top"}, 2)
    with pytest.raises(InputError, match=r"position 1 is 1\.5"):
        state.add_pairs(torch.tensor([0.5, 1.5]), torch.tensor([True, False]))
    with pytest.raises(InputError, match=r"both be \(M,\)"):
        state.add_pairs(torch.tensor([0.5, 1.0]), torch.tensor([True]))
    with pytest.raises(InputError, match="must be real"):
        state.add_pairs(torch.tensor([0, 1]), torch.tensor([True, False]))


def test_importing_metrics_is_light():
    heavy = ("torchmetrics", "lightning", "scipy", "sklearn", "matplotlib")
    code = (
        "import sys, calibrant.metrics, calibrant.metrics.functional; calibrant.metrics.list_metrics(); "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("shape", [(64_000, 2), (4, 2, 160, 100)])
def test_an_empty_first_bin_holds_nothing_of_a_class(shape):
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(40, 215, shape[:1] + shape[2:], generator=generator).double() / 255
    probs = torch.stack([1 - levels, levels], 1)
    target = (torch.rand(levels.shape, generator=generator) < levels).long()
    found = functional.brier_decomposition(probs, target, inputs="probs")
    assert 0 < float(found.reliability) < 1e-3
    assert abs(float(found.within_bins)) < 0.01
