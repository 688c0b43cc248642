"""Where in the image confidence and truth part."""

import pytest
import torch
from PIL import Image

from calibrant.training.gap_maps import GapMaps, read_means, read_worst
from calibrant.training.run_folder import RunFolder


class Grey:
    """Test images in one grey each."""

    names = tuple(f"image{k}" for k in range(9))

    def thumbnail(self, position, side):
        return Image.new("RGB", (96, 48), (20 * position,) * 3), Image.new("L", (96, 48), 255)


@pytest.fixture
def written(tmp_path):
    gaps = GapMaps(Grey())
    for position in range(9):
        # Wrong and sure on the right, ever surer; what is not labelled, at the top, counts nowhere.
        confidence = torch.full((48, 96), 0.5 + 0.05 * position)
        confidence[:8] = torch.nan
        correct = torch.ones(48, 96, dtype=torch.bool)
        correct[:, 48:] = False
        for stage in ("none", "temperature"):
            gaps.add(stage, position, confidence - 0.1 * (stage != "none"), correct)
    gaps.write(RunFolder(tmp_path))
    return RunFolder(tmp_path)


def test_means_are_over_the_images_that_have_a_label_there(written):
    means = read_means(written)
    assert set(means) == {"none", "temperature"}
    assert means["none"].shape == (48, 48)
    assert means["none"][:8].isnan().all()
    torch.testing.assert_close(means["none"][8:, 24:], torch.full((40, 24), 0.7))
    torch.testing.assert_close(means["none"][8:, :24], torch.full((40, 24), -0.3))
    torch.testing.assert_close(means["temperature"][8:, 24:], torch.full((40, 24), 0.6))


def test_the_worst_images_are_kept_the_worst_first(written):
    worst = read_worst(written)
    assert [image.name for image in worst] == [f"image{k}" for k in range(8, 2, -1)]
    first = worst[0]
    assert first.confidence == pytest.approx(0.9)
    assert first.accuracy == 0.5
    assert first.photograph.size == first.label.size == (96, 48)
    assert first.gap.shape == (48, 96)
    assert first.gap[0, 0] == 0
    assert first.gap[20, 90].item() == pytest.approx(0.9, abs=0.005)
    assert first.gap[20, 0].item() == pytest.approx(-0.1, abs=0.005)


def test_a_run_without_maps_has_none(tmp_path):
    assert read_means(RunFolder(tmp_path)) == {}
    assert read_worst(RunFolder(tmp_path)) == []
