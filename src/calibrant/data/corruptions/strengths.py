"""How strong each corruption is at each severity: the published numbers, for images of three sizes.

Hendrycks, Dietterich: "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR
2019, as its authors released CIFAR-10-C (32 pixels), Tiny-ImageNet-C (64) and ImageNet-C (224).
"""

from calibrant.errors import InputError

#: The numbers of one severity; what each means is said where it is used.
Strength = tuple[float, ...]
#: The sides of the published images.
SIDES = (32, 64, 224)
SEVERITIES = (1, 2, 3, 4, 5)

_Levels = tuple[Strength, Strength, Strength, Strength, Strength]


def _plain(*values: float) -> _Levels:
    a, b, c, d, e = ((value,) for value in values)
    return a, b, c, d, e


#: Of each corruption, the strengths for 32, 64 and 224 pixels.
STRENGTHS: dict[str, tuple[_Levels, _Levels, _Levels]] = {
    "gaussian_noise": (
        _plain(0.04, 0.06, 0.08, 0.09, 0.10),
        _plain(0.04, 0.08, 0.12, 0.15, 0.18),
        _plain(0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    "shot_noise": (
        _plain(500, 250, 100, 75, 50),
        _plain(250, 100, 50, 30, 15),
        _plain(60, 25, 12, 5, 3),
    ),
    "impulse_noise": (
        _plain(0.01, 0.02, 0.03, 0.05, 0.07),
        _plain(0.01, 0.02, 0.05, 0.08, 0.14),
        _plain(0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    "speckle_noise": (
        _plain(0.06, 0.10, 0.12, 0.16, 0.20),
        _plain(0.15, 0.20, 0.25, 0.30, 0.35),
        _plain(0.15, 0.20, 0.35, 0.45, 0.60),
    ),
    "defocus_blur": (
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass_blur": (
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": (
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur": (
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "gaussian_blur": (
        _plain(0.4, 0.6, 0.7, 0.8, 1),
        _plain(0.5, 0.75, 1, 1.25, 1.5),
        _plain(1, 2, 3, 4, 6),
    ),
    "snow": (
        (
            (0.10, 0.2, 1, 0.60, 8, 3, 0.95),
            (0.10, 0.2, 1, 0.50, 10, 4, 0.90),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.90),
            (0.25, 0.3, 2.25, 0.60, 12, 6, 0.85),
            (0.30, 0.3, 1.25, 0.65, 14, 12, 0.80),
        ),
        (
            (0.10, 0.2, 1, 0.60, 8, 3, 0.80),
            (0.10, 0.2, 1, 0.50, 10, 4, 0.80),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.70),
            (0.25, 0.3, 2.25, 0.60, 12, 6, 0.65),
            (0.30, 0.3, 1.25, 0.65, 14, 12, 0.60),
        ),
        (
            (0.10, 0.3, 3, 0.50, 10, 4, 0.80),
            (0.20, 0.3, 2, 0.50, 12, 4, 0.70),
            (0.55, 0.3, 4, 0.90, 12, 8, 0.70),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": (
        ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
        ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    ),
    "fog": (
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "spatter": (
        (
            (0.62, 0.1, 0.7, 0.70, 0.5, 0),
            (0.65, 0.1, 0.8, 0.70, 0.5, 0),
            (0.65, 0.3, 1.0, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        (
            (0.62, 0.1, 0.7, 0.70, 0.6, 0),
            (0.65, 0.1, 0.8, 0.70, 0.6, 0),
            (0.65, 0.3, 1.0, 0.69, 0.6, 0),
            (0.65, 0.1, 0.7, 0.68, 0.6, 1),
            (0.65, 0.1, 0.5, 0.67, 0.6, 1),
        ),
        (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
    ),
    "brightness": (
        _plain(0.05, 0.10, 0.15, 0.20, 0.30),
        _plain(0.10, 0.20, 0.30, 0.40, 0.50),
        _plain(0.10, 0.20, 0.30, 0.40, 0.50),
    ),
    "saturate": (
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    ),
    "contrast": (
        _plain(0.75, 0.50, 0.40, 0.30, 0.15),
        _plain(0.40, 0.30, 0.20, 0.10, 0.05),
        _plain(0.40, 0.30, 0.20, 0.10, 0.05),
    ),
    # Of the smaller ones as shares of the side, of the last as shares of 244 pixels, as published.
    "elastic_transform": (
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.10, 0.04, 0.05), (0.10, 0.03, 0.03)),
        ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.10, 0.08, 0.06), (0.10, 0.03, 0.03), (0.16, 0.03, 0.02)),
        ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
    "pixelate": (
        _plain(0.95, 0.90, 0.85, 0.75, 0.65),
        _plain(0.90, 0.80, 0.70, 0.60, 0.50),
        _plain(0.60, 0.50, 0.40, 0.30, 0.25),
    ),
    "jpeg_compression": (
        _plain(80, 65, 58, 50, 40),
        _plain(65, 58, 50, 40, 25),
        _plain(25, 18, 15, 10, 7),
    ),
}


def published_side(side: int) -> int:
    """Return the side of the published images whose strengths go with images of some side.

    Example:
        >>> [published_side(side) for side in (28, 64, 96, 224, 448)]
        [32, 64, 64, 224, 224]
    """
    return 32 if side < 48 else 64 if side < 128 else 224


def strength(name: str, severity: int, side: int) -> Strength:
    """Return the published numbers of a corruption.

    Args:
        name: of the corruption.
        severity: 1 to 5.
        side: of the image, in pixels.

    Raises:
        InputError: a severity that there is not.

    Example:
        >>> strength("gaussian_noise", 5, 32), strength("gaussian_noise", 5, 224)
        ((0.1,), (0.38,))
    """
    if severity not in SEVERITIES:
        raise InputError(f"A corruption has the severities 1 to 5, not {severity}.")
    return STRENGTHS[name][SIDES.index(published_side(side))][severity - 1]
