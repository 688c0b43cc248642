"""What the classes of ImageNet, numbers of WordNet, are called."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def readable_names(numbers: Sequence[str], *files: Path) -> list[str]:
    """Return the first word of each WordNet number in the first of some files that is there; else the number.

    Args:
        numbers: such as "n01443537".
        *files: lists with a number, a blank or a tab, and words separated by commas in each line.

    Where two classes have the same word the number stands behind it.

    Example:
        >>> readable_names(["n01443537"])
        ['n01443537']
    """
    words: dict[str, str] = {}
    for file in files:
        if file.is_file():
            lines = (line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines())
            words = {parts[0]: parts[1].split(",")[0].strip() for parts in lines if len(parts) == 2}
            break
    names = [words.get(number, number) for number in numbers]
    times = Counter(names)
    return [
        name if times[name] == 1 else f"{name} ({number})" for name, number in zip(names, numbers, strict=True)
    ]
