"""What each test image of a dense run adds to its metrics, kept so that runs can be compared image by image."""

import json
from collections.abc import Mapping
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from calibrant.errors import InputError
from calibrant.training.files import replacing
from calibrant.training.run_folder import RunFolder


class ImageSums(NamedTuple):
    """The sums of the test images at one stage of calibration.

    Attributes:
        names: of the N images.
        sums: by name, as `metrics.paired.paired_test_of_sums` takes them.
    """

    names: list[str]
    sums: dict[str, Tensor]


def write_image_sums(run: RunFolder, names: list[str], stages: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write the sums of each stage of calibration."""
    tensors = {f"{stage}/{name}": sums for stage, each in stages.items() for name, sums in each.items()}
    with replacing(run.image_sums_path) as temporary:
        save_file(tensors, temporary, metadata={"names": json.dumps(names)})


def read_image_sums(run: RunFolder, stage: str) -> ImageSums | None:
    """Return the sums of a stage of calibration; None where the run has none."""
    path = run.image_sums_path
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            own = [key for key in file.keys() if key.startswith(f"{stage}/")]  # noqa: SIM118
            names = json.loads((file.metadata() or {}).get("names", "[]"))
            sums = {key.removeprefix(f"{stage}/"): file.get_tensor(key) for key in own}
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); delete the run's result.json to run again.") from None
    return ImageSums(names, sums) if sums else None
