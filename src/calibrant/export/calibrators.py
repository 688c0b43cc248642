"""Which calibrator goes into an export: one that the run fitted, one in a file, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrant.errors import InputError, nearest
from calibrant.posthoc import AutoCalibration, Calibrator, ConformalSets, SavedCalibrator, load_calibrator
from calibrant.training.run_folder import RunFolder

NONE = "none"


@dataclass(frozen=True)
class Folded:
    """The calibrator of an export.

    Attributes:
        calibrator: fitted; None for none.
        stage: under which name the run's result has its metrics; None where it has none.
        facts: what the metadata say of it; None for none.
    """

    calibrator: Calibrator | None
    stage: str | None
    facts: dict[str, Any] | None

    @property
    def jumps(self) -> bool:
        """Whether its result jumps."""
        return self.calibrator is not None and self.calibrator.jumps


def calibrator_of(
    run: RunFolder, stages: Sequence[str], class_names: Sequence[str], asked: str | None
) -> Folded:
    """Return the calibrator that is asked for.

    Args:
        run: the run.
        stages: names of the calibrators of its recipe.
        class_names: of the run.
        asked: one of `stages`, a file, or "none"; None for the only one of `stages`.

    Raises:
        InputError: a choice that is left open, a calibrator that is not there, does not fit the classes, or
            gives no probabilities.
    """
    if asked is None:
        asked = _only(run, stages)
    if asked == NONE:
        return Folded(None, NONE, None)
    stage, path = None, Path(asked)
    if asked in stages:
        stage, path = asked, run.calibrator_path(asked)
        if not path.is_file():
            raise InputError(_missing(run, asked))
    elif not path.is_file():
        raise InputError(
            f"There is no calibrator {asked!r}; {nearest(asked, (*stages, NONE))} (Or name a file.)"
        )
    saved = load_calibrator(path)
    saved.refuse_other_classes(path, class_names, str(run.path))
    return Folded(_probabilistic(saved, path), stage, _facts(saved))


def _only(run: RunFolder, stages: Sequence[str]) -> str:
    if len(stages) > 1:
        raise InputError(
            f"The recipe of {run.path} fits several calibrators ({', '.join(stages)}); choose one with "
            "--calibrator."
        )
    return stages[0] if stages else NONE


def _missing(run: RunFolder, name: str) -> str:
    why = run.result().get("posthoc", {}).get(name, {}).get("refused")
    reason = f" ({why.rstrip('.')})" if why else ""
    return (
        f"{run.path} holds no fitted calibrator {name!r}{reason}; --calibrator none exports the network as it "
        "is, --calibrator FILE with one that calibrant calibrate wrote."
    )


def _probabilistic(saved: SavedCalibrator, path: Path) -> Calibrator:
    if isinstance(saved.calibrator, ConformalSets):
        raise InputError(
            f"{path} gives sets of classes, not probabilities, and cannot be folded in; export with another "
            "calibrator, and make sets of what the network says with calibrant apply."
        )
    calibrator = saved.calibrator
    return calibrator.calibrator if isinstance(calibrator, AutoCalibration) else calibrator


def _facts(saved: SavedCalibrator) -> dict[str, Any]:
    calibrator = saved.calibrator
    chosen = {"chosen": calibrator.chosen_} if isinstance(calibrator, AutoCalibration) else {}
    return {"method": saved.method, **chosen, "summary": " ".join(repr(calibrator).split())}
