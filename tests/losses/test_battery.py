"""Every registered loss passes the common battery, and compiles without a graph break."""

from functools import partial

import pytest

from calibrant.errors import InputError
from calibrant.losses import create, list_losses
from calibrant.testing.loss_checks import CHECKS, check_compiled, check_loss
from tests.losses.broken import BROKEN, Sound

COUNTS = [50, 30, 20, 10, 5]


@pytest.mark.parametrize("name", list_losses())
def test_loss_passes_the_battery(name):
    check_loss(partial(create, name, num_classes=5, class_counts=COUNTS, num_samples=9))


@pytest.mark.parametrize("name", list_losses())
def test_loss_compiles_to_the_same_values(name):
    check_compiled(partial(create, name, num_classes=5, class_counts=COUNTS, num_samples=9))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_battery_notices(check):
    """Each check fails on a loss that breaks what it guards."""
    check(Sound, 5)
    with pytest.raises((AssertionError, RuntimeError, IndexError, InputError)):
        check(BROKEN[check.__name__], 5)
