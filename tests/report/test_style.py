from itertools import combinations

from calibrant.report.style import DARK, HUES, INK, MUTED, OVER, PAPER, UNDER, dark_css, looks


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    dark, light = sorted([_luminance(a), _luminance(b)])
    return (light + 0.05) / (dark + 0.05)


def test_lines_stand_out_on_both_papers() -> None:
    for hue in HUES:
        assert min(_contrast(hue, PAPER), _contrast(hue, DARK[PAPER])) >= 3
    for ink in (OVER, UNDER):
        assert min(_contrast(ink, PAPER), _contrast(DARK[ink], DARK[PAPER])) >= 3


def test_text_stands_out_on_both_papers() -> None:
    for ink in (INK, MUTED):
        assert min(_contrast(ink, PAPER), _contrast(DARK[ink], DARK[PAPER])) >= 4.5


def test_twenty_four_methods_look_different() -> None:
    chosen = looks([f"method {k}" for k in range(24)]).values()
    for a, b in combinations(chosen, 2):
        assert (a.colour, str(a.dashes)) != (b.colour, str(b.dashes))


def test_a_known_method_keeps_its_colour() -> None:
    alone, among = looks(["mbls", "other"]), looks(["x", "ce", "acls", "y", "mbls"])
    assert alone["mbls"].colour == among["mbls"].colour
    assert len({look.colour for look in among.values()}) == 5


def test_dark_rules_name_each_colour_of_the_theme() -> None:
    css = dark_css("svg")
    for light, dark in DARK.items():
        assert f'svg [fill="{light}"]{{fill:{dark}}}' in css
        assert f'svg [stroke="{light}"]{{stroke:{dark}}}' in css
