"""What must hold with the core dependencies alone; run by the gate before anything else is installed.

It is a script, not a test: where pytest runs, the environment is no longer bare.
"""

import subprocess
import sys
from importlib.metadata import requires
from importlib.util import find_spec

OPTIONAL = ("lightning", "matplotlib", "torchvision", "timm", "sklearn", "jsonargparse", "rich", "onnx")

TIME = """
import time, torch
start = time.perf_counter()
import calibrant
print(time.perf_counter() - start)
"""

USE = """
import sys, torch, calibrant
logits = torch.randn(64, 10, requires_grad=True)
target = torch.randint(0, 10, (64,))
for name in calibrant.losses.list_losses():
    assert name
loss = calibrant.losses.create("mbls", margin=6.0)(logits, target)
loss.backward()
ece = calibrant.metrics.functional.ece(logits.detach(), target, inputs="logits")
scaled = calibrant.posthoc.TemperatureScaling().fit(logits.detach(), target)(logits)
assert scaled.shape == logits.shape and 0 <= float(ece) <= 1
loaded = {name.split(".")[0] for name in sys.modules}
print(*sorted(loaded & set(sys.argv[1:])))
"""


def python(code: str, *arguments: str) -> str:
    """Return what a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def main() -> None:
    present = [name for name in OPTIONAL if find_spec(name)]
    assert not present, f"the environment is not bare: {present}"
    core = [line for line in requires("calibrant") or [] if "extra ==" not in line]
    assert len(core) == 4, core
    seconds = min(float(python(TIME)) for _ in range(5))
    assert seconds <= 0.1, f"import calibrant takes {seconds:.3f} s beyond import torch"
    loaded = python(USE, *OPTIONAL, "torchmetrics")
    assert not loaded, f"loss, metric and temperature load {loaded}"
    listed = subprocess.run(["calibrant", "list", "losses"], capture_output=True, text=True)
    assert listed.returncode == 2, listed
    assert "calibrant[all]" in listed.stderr, listed.stderr
    assert "Traceback" not in listed.stderr, listed.stderr
    print(f"import calibrant: {1000 * seconds:.1f} ms beyond import torch; the core works alone")


if __name__ == "__main__":
    main()
