"""`calibrant explain LOSS…` and `calibrant explain RUN…`."""

import inspect
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from calibrant.compare.activity import ActivityCourse, activity_courses
from calibrant.compare.methods import parse_loss
from calibrant.errors import InputError
from calibrant.losses import Loss, create, list_losses
from calibrant.losses.explanation import NOTATION, Explanation, explain
from calibrant.losses.explanation.curves import BATCH
from calibrant.losses.registry import LOSSES
from calibrant.training.run_folder import find_runs

#: What is explained where nothing is named.
FAMILIAR = ("ce", "ls", "focal", "mbls", "acls", "cals", "mdca", "cpc")
#: Width of what is printed where there is no terminal.
_WIDTH = 120
_HEADS = ("loss", "implied target", "conditional", "adaptive", "does to the target of the predicted class")
#: Losses in each figure of a page that has several.
_A_FIGURE = 8
#: Epochs of a run that are printed, at most about so many.
_LINES = 20


@dataclass(frozen=True)
class _Told:
    """A table, and what is said about it."""

    title: str
    lede: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    notes: Sequence[str] = ()


def execute(options: dict[str, Any]) -> None:
    """Explain losses, or where the regularisers of runs were active."""
    named = options.get("what") or list(FAMILIAR)
    runs = [text for text in named if _is_run(text)]
    if runs and len(runs) < len(named):
        other = next(text for text in named if text not in runs)
        raise InputError(f"{runs[0]!r} is a folder of runs and {other!r} a loss: explain one kind at a time.")
    out = Path(options["out"]) if "out" in options else None
    if out is not None:
        # An extra that is missing, or a name that cannot be, is told before the work.
        from calibrant.report.explanation import check_ending

        check_ending(out)
    if runs:
        given = [f"--{key.replace('_', '-')}" for key in ("classes", "class_counts", "upto") if key in options]
        if given:
            raise InputError(f"{given[0]} is for losses; what is told of {runs[0]} comes from its files.")
        _explain_runs([Path(text) for text in runs], out, as_json=bool(options.get("json")))
    else:
        _explain_losses(named, options, out)


def _is_run(text: str) -> bool:
    """Return whether an argument names a folder rather than a loss."""
    if text.partition(":")[0] in list_losses() or text == "all":
        return False
    if Path(text).exists():
        return True
    if os.sep in text or "/" in text:
        raise InputError(f"There is no folder {text!r}; name a run, such as runs/digits/mbls/seed0, or a loss.")
    return False


def _explain_losses(named: Sequence[str], options: dict[str, Any], out: Path | None) -> None:
    if out is not None:
        from calibrant.report.explanation import write_explanation
        from calibrant.report.smoothing import CAPTION, MOST, smoothing_figure
        from calibrant.report.style import looks
    counts = options.get("class_counts")
    classes = options.get("classes", len(counts) if counts else 10)
    if counts and len(counts) != classes:
        raise InputError(f"--class-counts lists {len(counts)} classes, and --classes says {classes}.")
    if classes < 3:
        raise InputError(f"A predicted class, a label and another need 3 classes or more, not {classes}.")
    counts = counts or [round(1000 * 0.01 ** (k / (classes - 1))) for k in range(classes)]
    texts = [name for text in named for name in (list_losses() if text == "all" else [text])]
    losses = {text: _made(text, classes, counts) for text in dict.fromkeys(texts)}
    if out is not None and out.suffix != ".html" and len(losses) > MOST:
        raise InputError(
            f"A figure shows up to {MOST} losses, not {len(losses)}: write a page (.html) of them."
        )
    kinds = ("margin", "pos_margin", "neg_margin")
    margins = [float(getattr(loss, kind, None) or 0) for loss in losses.values() for kind in kinds]
    upto = options.get("upto", max([20.0, *(2 * margin for margin in margins)]))
    found = [explain(loss, name, num_classes=classes, upto=upto) for name, loss in losses.items()]
    told = _told(found, list(losses.values()), _situation(list(losses), classes, upto, counts))
    if out is not None:
        each = MOST if len(found) <= MOST else _A_FIGURE
        groups = [found[start : start + each] for start in range(0, len(found), each)]
        drawings = [smoothing_figure(group, looks([one.name for one in group]), told.title) for group in groups]
        write_explanation(drawings, CAPTION, out, **vars(told))
    if options.get("json"):
        facts = {"classes": classes, "upto": upto, "losses": [_as_json(each) for each in found]}
        print(json.dumps(facts, indent=1))
    else:
        _show(told, out)


def _made(text: str, classes: int, counts: Sequence[int]) -> Loss:
    """Return the loss that an argument describes."""
    try:
        tree = parse_loss(text)
        options = tree.get("args", {})
        if options.get("num_classes", classes) != classes:
            raise InputError(f"{text!r} is for other than {classes} classes: say how many with --classes.")
        facts = {"num_classes": classes, "class_counts": list(counts), "num_samples": BATCH}
        return create(tree["name"], **facts | options)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"The options of the loss {text!r} do not fit: {reason}") from None


def _told(found: Sequence[Explanation], losses: Sequence[Loss], situation: str) -> _Told:
    rows = [
        (
            each.name,
            each.formula or "by differentiation alone",
            _answer(each, each.verdict.conditional),
            _answer(each, each.verdict.adaptive),
            each.verdict.effect,
        )
        for each in found
    ]
    caption = (
        "Each loss trains as cross-entropy does on its implied target. Conditional: some rows keep their label "
        "to the last digit. Adaptive: the size of the change depends on the logit."
    )
    if any(loss.batch_level or loss.needs_index for loss in losses):
        situation += f" Losses of a batch see the row beside {BATCH} others, over-confident, 3 of 4 right."
    if any(type(loss).observe is not Loss.observe for loss in losses):
        situation += f" Losses that learn have been shown {BATCH} such rows for two epochs after any warm-up."
    title = "What losses ask of their targets"
    if len(found) == 1:
        title = f"What {found[0].name} asks of its targets"
    return _Told(title, situation, _HEADS, rows, caption, [NOTATION])


def _situation(names: Sequence[str], classes: int, upto: float, counts: Sequence[int]) -> str:
    told = (
        f"{classes} classes. The logit of the predicted class runs from 0 to {upto:g}, that of every other is "
        "0; the effect is that on a right prediction."
    )
    factories = [LOSSES.get(name.partition(":")[0]) for name in names]
    if any("class_counts" in inspect.signature(factory).parameters for factory in factories):
        told += f" The predicted class has {counts[0]:,} training samples, the label of a wrong prediction "
        told += f"{counts[-1]:,}."
    return told


def _answer(each: Explanation, answer: bool) -> str:
    if not each.verdict.acts:
        return "–"
    return "yes" if answer else "no"


def _as_json(each: Explanation) -> dict[str, Any]:
    curve = each.curve
    return {
        "loss": each.name,
        "implied_target": each.formula,
        "acts": each.verdict.acts,
        "conditional": each.verdict.conditional,
        "adaptive": each.verdict.adaptive,
        "effect": each.verdict.effect,
        "logit": curve.logit.tolist(),
        "change": {role: change.tolist() for role, change in curve.changes.items()},
    }


def _explain_runs(paths: Sequence[Path], out: Path | None, *, as_json: bool) -> None:
    if out is not None:
        from calibrant.report.activity import CAPTION, activity_figure
        from calibrant.report.explanation import write_explanation
        from calibrant.report.style import looks
    courses, notices = activity_courses(find_runs(list(paths)))
    if not courses:
        raise InputError(
            notices[0] if len(notices) == 1 else f"{notices[0]} ({len(notices) - 1} others alike.)"
        )
    for notice in notices:
        print(f"calibrant: {notice}", file=sys.stderr)
    told = _told_of_runs(courses)
    if out is not None:
        drawing = activity_figure(courses, looks(list(courses)), told.title)
        write_explanation([drawing], CAPTION, out, **vars(told))
    if as_json:
        facts = [
            {
                "run": str(course.run.path),
                "method": name,
                "active_samples": _finite(course.samples),
                "active_classes": _finite(course.classes),
            }
            for name, each in courses.items()
            for course in each
        ]
        print(json.dumps({"runs": facts}, indent=1))
    else:
        _show(told, out)


def _finite(shares: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(share) else share for share in shares]


def _told_of_runs(courses: Mapping[str, Sequence[ActivityCourse]]) -> _Told:
    every = [(name, course) for name, each in courses.items() for course in each]
    caption = (
        "Samples (of maps: pixels) of which the regulariser of the loss moved a target, and the share of the "
        "classes whose target it moved, averaged over all samples; elsewhere the loss was plain cross-entropy."
    )
    if len(every) == 1:
        name, course = every[0]
        epochs = len(course.samples)
        step = -(-epochs // _LINES)
        shown = [e for e in range(epochs) if e % step == 0 or e == epochs - 1]
        rows = [(str(e + 1), _percent(course.samples[e]), _percent(course.classes[e])) for e in shown]
        lede = f"{course.run.path}, {epochs} epochs"
        return _Told(f"Where {name} was active", lede, ("epoch", "samples", "classes"), rows, caption)
    lines = [
        (str(course.run.path), name, str(len(course.samples)), _course(course.samples), _course(course.classes))
        for name, course in every
    ]
    heads = ("run", "method", "epochs", "samples: first to last, most", "classes: first to last, most")
    return _Told("Where the regularisers were active", f"{len(every)} runs", heads, lines, caption)


def _course(shares: Sequence[float]) -> str:
    known = [share for share in shares if not math.isnan(share)]
    first, last, most = (_percent(share) for share in (known[0], known[-1], max(known)))
    return f"{first.removesuffix(' %')} to {last}, {most}"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _show(told: _Told, out: Path | None) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(told.lede, highlight=False, markup=False)
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in told.heads:
        shown.add_column(Text(head, overflow="fold"), overflow="fold")
    for row in told.rows:
        shown.add_row(*map(Text, row))
    console.print(shown)
    for note in (told.caption, *told.notes):
        console.print(note, highlight=False, markup=False)
    if out is not None:
        console.print(
            f"{'Page' if out.suffix == '.html' else 'Figure'}: {out}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
