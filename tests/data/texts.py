"""20 Newsgroups, R52 and GloVe, in the layouts that the recipes read, with a few texts."""

from pathlib import Path

import torch

GROUPS = {"alt.atheism": "belief", "comp.graphics": "pixel", "sci.space": "orbit"}
WORDS = ["the", "of", "and", *(f"word{chr(97 + i)}" for i in range(20))]


def write_texts(folder: Path) -> None:
    """Write 72 messages of three groups, a table with a long tail, and vectors of 8 numbers."""
    generator = torch.Generator().manual_seed(0)

    def text(word: str) -> str:
        length = int(torch.randint(3, 40, (), generator=generator))
        drawn = torch.randint(len(WORDS), (length,), generator=generator)
        return " ".join(f"{WORDS[i]} {word}" for i in drawn.tolist())

    for at, (group, word) in enumerate(GROUPS.items()):
        (folder / "20_newsgroups" / group).mkdir(parents=True)
        for k in range(24):
            path = folder / "20_newsgroups" / group / str(100 * at + k)
            path.write_text(f"Subject: x\n\n{text(word)}\n", encoding="latin-1")
    (folder / "r52").mkdir()
    for part, sizes in {"train": (110, 30, 6), "test": (6, 6, 6)}.items():
        rows = [
            f"{name}\t{text(word)}\n"
            for name, word, size in zip(("earn", "crude", "tin"), GROUPS.values(), sizes, strict=True)
            for _ in range(size)
        ]
        (folder / "r52" / f"{part}.tsv").write_text("".join(rows))
    (folder / "glove.6B").mkdir()
    known = [*GROUPS.values(), *WORDS[:-2]]
    vectors = torch.randn(len(known), 8, generator=generator)
    lines = [
        f"{word} {' '.join(f'{v:.4f}' for v in row)}\n"
        for word, row in zip(known, vectors.tolist(), strict=True)
    ]
    (folder / "glove.6B" / "glove.6B.100d.txt").write_text("".join(lines))
