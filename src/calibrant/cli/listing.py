"""`calibrant list KIND`."""

from collections.abc import Callable
from typing import Any

Listing = list[tuple[str, str]]


def execute(options: dict[str, Any]) -> None:
    """Print names with one line on each."""
    listing = LISTINGS[options["kind"]]()
    width = max(len(name) for name, _ in listing)
    for name, line in listing:
        print(f"{name:{width}}  {line}")


def _losses() -> Listing:
    from calibrant.losses.registry import LOSSES

    return [(name, LOSSES.summary(name)) for name in LOSSES.names()]


def _metrics() -> Listing:
    from calibrant.metrics.registry import METRICS

    return [(name, METRICS.summary(name)) for name in METRICS.names()]


def _calibrators() -> Listing:
    from calibrant.posthoc import CALIBRATORS

    sets = (
        "conformal",
        "Sets of classes that hold the label as often as asked; calibrant calibrate alone.",
    )
    return sorted([*((name, CALIBRATORS.summary(name)) for name in CALIBRATORS.names()), sets])


def _recipes() -> Listing:
    from calibrant.training.recipe_files import list_recipes, summary

    return [(name, summary(name)) for name in list_recipes()]


def _data() -> Listing:
    from calibrant.data.registry import DATASETS

    return [(name, DATASETS.summary(name)) for name in DATASETS.names()]


def _models() -> Listing:
    from calibrant.models.dense import DENSE_MODELS
    from calibrant.models.registry import MODELS

    others = [
        ("timm:NAME", "any classifier of timm"),
        ("torchvision:NAME", "any classifier of torchvision; for maps, any of its segmentation networks"),
        ("hf:FOLDER", "a text classifier of Hugging Face, from a folder"),
        ("smp:ARCHITECTURE/ENCODER", "for maps, any network of segmentation_models_pytorch"),
        ("onnx:PATH", "for binary maps, a trained network from an ONNX file"),
    ]
    ours = [(name, models.summary(name)) for models in (MODELS, DENSE_MODELS) for name in models.names()]
    return ours + others


def _corruptions() -> Listing:
    from calibrant.data.corruptions import CORRUPTIONS, EXTRA, STANDARD, Frost

    made = {**CORRUPTIONS, "frost": Frost}
    return [(name, (made[name].__doc__ or "").split("\n", 1)[0]) for name in (*STANDARD, *EXTRA)]


LISTINGS: dict[str, Callable[[], Listing]] = {
    "losses": _losses,
    "metrics": _metrics,
    "calibrators": _calibrators,
    "recipes": _recipes,
    "data": _data,
    "models": _models,
    "corruptions": _corruptions,
}
