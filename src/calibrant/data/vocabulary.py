"""Words and their vectors: how a text becomes a row of numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from calibrant.errors import InputError

_SEPARATORS = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))


def words_of(text: str) -> list[str]:
    """Return the words of a text: lower case, cut at blanks, line ends and punctuation but the apostrophe.

    Example:
        >>> words_of("Don't panic: it's 42!")
        ["don't", 'panic', "it's", '42']
    """
    return [word for word in text.lower().translate(_SEPARATORS).split(" ") if word]


class Vocabulary:
    """The most frequent words of some texts, numbered from 1 by falling frequency; 0 is padding.

    Args:
        texts: the texts whose words are counted; of equally frequent words the first seen comes first.
        size: number of rows of the embedding, padding included, so that `size - 1` words are kept; None for all
            words.

    Attributes:
        words: the words; `words[0]`, padding, is empty.

    Example:
        >>> vocabulary = Vocabulary(["the cat and the dog", "the dog"], size=4)
        >>> vocabulary.words
        ['', 'the', 'dog', 'cat']
        >>> vocabulary.encode(["the bird and the cat"], length=5)
        tensor([[0, 0, 1, 1, 3]], dtype=torch.int32)
    """

    def __init__(self, texts: Iterable[str], size: int | None = 2000) -> None:
        if size is not None and size < 2:
            raise InputError(
                f"A vocabulary of {size} rows, one of them padding, holds no word; take 2 or more."
            )
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(words_of(text))
        kept = None if size is None else size - 1
        self.words = ["", *(word for word, _ in counts.most_common(kept))]
        self._numbers = {word: number for number, word in enumerate(self.words) if number}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """Return (N, length) int32 numbers of the known words; others are left out.

        A longer text keeps its last words, a shorter one is padded with 0 in front.
        """
        rows = torch.zeros(len(texts), length, dtype=torch.int32)
        for row, text in zip(rows, texts, strict=True):
            numbers = [self._numbers[word] for word in words_of(text) if word in self._numbers][-length:]
            if numbers:
                row[-len(numbers) :] = torch.tensor(numbers, dtype=torch.int32)
        return rows


def read_vectors(path: Path, words: Sequence[str]) -> Tensor:
    """Read the vectors of some words from a text file in the layout of GloVe: word, blank, numbers.

    Args:
        path: the file.
        words: V words.

    Returns:
        (V, D) float32; the row of a word that the file does not have is 0.

    Raises:
        InputError: no such file, or a line that is no word with as many numbers as the line before.

    Pennington, Socher, Manning: "GloVe: Global Vectors for Word Representation", EMNLP 2014.
    """
    if not path.is_file():
        raise InputError(
            f"Word vectors were looked for in {path}; put glove.6B.100d.txt of the GloVe archive there, or set "
            "data.args.vectors to null for random ones, to be trained."
        )
    rows = {word: row for row, word in enumerate(words) if word}
    vectors: Tensor | None = None
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            word, _, rest = line.rstrip().partition(" ")
            # fastText and word2vec say first how many words there are, and numbers a word.
            if (number == 1 and word.isdecimal() and rest.isdecimal()) or (
                vectors is not None and word not in rows
            ):
                continue
            values = rest.split(" ")
            # A few words of GloVe's largest file hold blanks; a word of a text holds none.
            if vectors is not None and len(values) > vectors.shape[1]:
                continue
            try:
                numbers = torch.tensor([float(value) for value in values])
            except ValueError:
                numbers = torch.empty(0)
            if vectors is None:
                vectors = torch.zeros(len(words), len(numbers))
            if len(numbers) == 0 or len(numbers) != vectors.shape[1]:
                raise InputError(
                    f"Line {number} of {path} is no word with {vectors.shape[1] or 'its'} numbers."
                )
            if word in rows:
                vectors[rows[word]] = numbers
    if vectors is None:
        raise InputError(f"{path} is empty: fetch it again.")
    return vectors
