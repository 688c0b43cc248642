"""What each calibrator changes, in plain words, and no more than the tests support."""

import math

from markupsafe import Markup

from calibrant.compare.significance import LEVEL, holm
from calibrant.compare.stages import DEFAULT, RAW, calibration
from calibrant.metrics import paired_test
from calibrant.report.leading import all_named, ece_of, marked, named, tested
from calibrant.report.method import Comparison
from calibrant.report.text import percent


def calibrated(comparison: Comparison) -> list[tuple[str, Markup]]:
    """Return what is to be said of each stage of calibration: its head, and the sentences."""
    found = []
    for stage in comparison.stages:
        if stage != RAW:
            text = _said(comparison, stage)
            if text:
                found.append((f"What {calibration(stage)} changes", text))
    return found


def _said(comparison: Comparison, stage: str) -> Markup:
    changes = _changes(comparison, stage)
    sentences: list[Markup] = []
    if changes:
        sentences += [*_lowered(comparison, stage, changes), *_not_lowered(changes)]
    rows = [row for row in comparison.table.ranked if not math.isnan(ece_of(row, stage).mean)]
    if rows and stage == comparison.after:
        best = min(rows, key=lambda row: ece_of(row, stage).mean)
        cell = ece_of(best, stage)
        value = percent(cell.mean, cell.std)
        if len(rows) == 1:
            whose = Markup(" of {}").format(named(best)) if len(comparison.methods) > 1 else ""
            return Markup(" ").join([*sentences, Markup("After it, the ECE{} is {}.").format(whose, value)])
        leaders = marked(comparison, "ece", stage)
        if not tested(comparison, "ece", stage):
            doubt = Markup("untested")
        elif not leaders:
            doubt = Markup("the paired test does not tell it from any other")
        elif len(leaders) == 1:
            doubt = Markup("lower than every other method by the paired test")
        else:
            doubt = Markup("not told from {} by the paired test").format(all_named(leaders[1:]))
        sentences.append(Markup("After it, {} has the lowest ECE ({}), {}.").format(named(best), value, doubt))
    return Markup(" ").join(sentences)


def _changes(comparison: Comparison, stage: str) -> dict[str, float]:
    """Return by method the change of the ECE that a calibrator makes, 0 where no test supports it."""
    if comparison.target is None:
        return {}
    tests = {
        method.name: paired_test(
            method.logits(stage), method.logits(RAW), comparison.target, inputs="logits", metric="ece"
        )
        for method in comparison.methods
        if stage in method.bins
    }
    real = holm({name: test.p_value for name, test in tests.items()}, LEVEL)
    return {name: test.difference if name in real else 0.0 for name, test in tests.items()}


def _lowered(comparison: Comparison, stage: str, changes: dict[str, float]) -> list[Markup]:
    lowered = [name for name, change in sorted(changes.items(), key=lambda item: item[1]) if change < 0]
    if not lowered:
        return [Markup("It is not shown to lower the ECE of any method.")]
    held_out = comparison.data.get("val")
    fitted = f"Fitted on {held_out:,} validation samples, it" if isinstance(held_out, int) else "It"
    most = next(row for row in comparison.table.rows if row.method == lowered[0])
    detail = Markup("from {} to {}").format(percent(ece_of(most).mean), percent(ece_of(most, stage).mean))
    temperatures = comparison.method(most.method).temperatures if stage == DEFAULT else []
    if temperatures:
        temperature = sum(temperatures) / len(temperatures)
        effect = "softens" if temperature > 1 else "sharpens"
        detail += Markup(", T = {:.2f}, which {} its predictions").format(temperature, effect)
    if len(changes) == 1:
        return [Markup("{} lowers the ECE {}.").format(fitted, detail)]
    if len(lowered) == 1:
        return [Markup("{} lowers the ECE of {} ({}).").format(fitted, named(most), detail)]
    whose = "every method" if len(lowered) == len(changes) else all_named(lowered)
    return [Markup("{} lowers the ECE of {}; most that of {} ({}).").format(fitted, whose, named(most), detail)]


def _not_lowered(changes: dict[str, float]) -> list[Markup]:
    raised = [name for name, change in changes.items() if change > 0]
    same = [name for name, change in changes.items() if change == 0]
    sentences = []
    if raised:
        sentences.append(Markup("It raises that of {}.").format(all_named(raised)))
    if same and len(same) < len(changes):
        sentences.append(
            Markup("It makes no difference that the test supports for {}.").format(all_named(same))
        )
    return sentences
