"""Data sets of texts: 20 Newsgroups, and any table."""

from pathlib import Path
from typing import Literal, TypedDict, Unpack

import torch
from torch import Generator, Tensor

from calibrant.data.image_set import shuffled
from calibrant.data.registry import register
from calibrant.data.splits import newsgroup_split
from calibrant.data.text_files import Corpus, read_newsgroups, read_table
from calibrant.data.text_set import TextSet, TextTask
from calibrant.data.tokens import tokenize
from calibrant.data.vocabulary import Vocabulary, read_vectors
from calibrant.errors import InputError
from calibrant.metrics.definitions import Groups

GLOVE = "glove.6B/glove.6B.100d.txt"

Parts = tuple[Tensor, Tensor, Tensor]


class Words(TypedDict, total=False):
    """How texts become rows of numbers.

    Attributes:
        vocabulary_size: rows of the embedding, padding included; 2,000 as published, null for all words.
        counted: whose words are counted: those of the "train" texts, the default; or "all", as published, test
            included.
        length: words a text, 1,000; longer ones keep their end, as published. Tokens, 512.
        vectors: file of word vectors under `root`, those of GloVe; null for random ones, to be trained.
        tokenizer: folder of a tokenizer of Hugging Face that cuts the texts, of which the beginning is kept, in
            place of all of the above but `length`; that of the network where it is `hf:FOLDER`.
    """

    vocabulary_size: int | None
    counted: Literal["train", "all"]
    length: int
    vectors: str | None
    tokenizer: str


def build_task(
    corpus: Corpus,
    parts: Parts,
    root: Path,
    note: str,
    groups: Groups | None = None,
    *,
    vocabulary_size: int | None = 2000,
    counted: Literal["train", "all"] = "train",
    length: int | None = None,
    vectors: str | None = GLOVE,
    tokenizer: str | None = None,
) -> TextTask:
    """Number the words of a corpus and divide it.

    Args:
        corpus: all texts.
        parts: positions of the texts that train, validate and test.
        root: folder of the vectors.
        note: what to say of the division.
        groups: which classes are many, medium and few; None where they are about as large.
        vocabulary_size: as in `Words`, and so the others.
        counted: whose words are counted.
        length: words a text; None for 1,000, or of a tokenizer for what it allows.
        vectors: file of word vectors; None for random ones of length 100.
        tokenizer: folder of a tokenizer; None to count words.

    Raises:
        InputError: a label without a training text.
    """
    if counted not in ("train", "all"):
        raise InputError(f"counted must be 'train' or 'all', not {counted!r}.")
    if length is not None and length < 1:
        raise InputError(f"length must be at least 1 word a text, not {length}.")
    train = parts[0].tolist()
    names = sorted({corpus.labels[at] for at in train}, key=_by_number)
    number = {name: label for label, name in enumerate(names)}
    unknown = sorted({*corpus.labels} - {*names})
    if unknown:
        raise InputError(
            f"The class {unknown[0]!r} has no training text: only the test file has it, or data.train or "
            "data.val leaves it none."
        )
    targets = torch.tensor([number[label] for label in corpus.labels])

    def parted(rows: Tensor) -> tuple[TextSet, TextSet, TextSet]:
        fit, choose, judge = (TextSet(rows[at], targets[at], at) for at in parts)
        return fit, choose, judge

    if tokenizer is not None:
        cut = tokenize(corpus.texts, tokenizer, length)
        said = f"{note}; {cut.rows.shape[1]} of {len(cut.words):,} tokens a text"
        return TextTask(*parted(cut.rows), names, cut.words, None, groups, said, cut.padding)
    source = [corpus.texts[at] for at in train] if counted == "train" else corpus.texts
    vocabulary = Vocabulary(source, vocabulary_size)
    tokens = vocabulary.encode(corpus.texts, 1000 if length is None else length)
    if vectors is None:
        table = torch.randn(len(vocabulary), 100, generator=Generator().manual_seed(0))
        table[0] = 0
    else:
        table = read_vectors(root / vectors, vocabulary.words)
    known = int((table != 0).any(1).sum())
    said = f"{note}; {len(vocabulary) - 1:,} words, {known:,} with a vector"
    return TextTask(*parted(tokens), names, vocabulary.words, table, groups, said)


def _by_number(label: str) -> tuple[int, str]:
    """Order labels that are numbers as such."""
    return (int(label) if label.isdecimal() else -1, label)


def _kept(train: Tensor, count: int | None) -> Tensor:
    if count is not None and not 1 <= count <= len(train):
        raise InputError(f"data.train asks for {count:,} texts of {len(train):,}.")
    return train[:count]


@register("newsgroups")
def newsgroups(
    root: Path,
    download: bool = False,
    train: int | None = None,
    val: int = 900,
    split_seed: int = 1,
    split: Literal["random", "by_date"] = "random",
    **words: Unpack[Words],
) -> TextTask:
    """20 Newsgroups: 18,800 to 20,000 messages; from 20_newsgroups or 20news-bydate-train and -test.

    Args:
        root: folder that holds one of them; scikit-learn's own copy is looked for there too.
        download: fetch scikit-learn's copy when none is there.
        train: number of training texts kept; None for all.
        val: number of texts that validate.
        split_seed: seed of the shuffle.
        split: "random", as published: a fifth of a shuffle of all texts tests; or "by_date", the texts of the
            test folder.
        **words: how texts become numbers, as in `Words`.

    A message's header, up to its first empty line, is cut off, as published; a text without an empty line is
    taken as a whole.

    Lang: "NewsWeeder: Learning to Filter Netnews", ICML 1995. The split is that of Liu, Ben Ayed, Galdran, Dolz
    (CVPR 2022), who count the words of the test texts too: `counted="all"`, as in the recipes.
    """
    if split not in ("random", "by_date"):
        raise InputError(f"split must be 'random' or 'by_date', not {split!r}.")
    first, second = read_newsgroups(root, download, split == "by_date")
    corpus = first + second
    if split == "random":
        parts = newsgroup_split(len(corpus.texts), val=val, seed=split_seed)
    else:
        parts = _keep_test(len(first.texts), len(second.texts), val, split_seed)
    return build_task(
        corpus,
        (_kept(parts[0], train), parts[1], parts[2]),
        root,
        f"{len(corpus.texts):,} texts, {split.replace('_', ' ')} split",
        **words,
    )


@register("text_table")
def text_table(
    root: Path,
    train_file: str,
    test_file: str | None = None,
    text: str | int = "text",
    label: str | int = "label",
    train: int | None = None,
    val: int = 500,
    split_seed: int = 1,
    test_share: float = 0.2,
    groups: Groups | None = None,
    **words: Unpack[Words],
) -> TextTask:
    """Any texts in a CSV, TSV or parquet file with a column of texts and one of labels.

    Args:
        root: folder of the files.
        train_file: the training texts, `*.csv`, `*.tsv` (tabs, no quotes) or `*.parquet`.
        test_file: the test texts; None to cut `test_share` from a shuffle of the training texts.
        text: name of the column of texts; or its number, from 0, in a file without a header.
        label: name, or number, of the column of labels.
        train: number of training texts kept; None for all.
        val: number of texts that validate, from the end of a shuffle of the training texts.
        split_seed: seed of the shuffle.
        test_share: share that tests when there is no `test_file`.
        groups: which classes are many, medium and few: "counts" for more than 100, 20 to 100 and fewer training
            texts; None, without such groups, where the classes are about as large.
        **words: how texts become numbers, as in `Words`.

    Raises:
        InputError: a file or column that is not there, a class without a training text.
    """
    first = read_table(root / train_file, text, label)
    second = Corpus([], []) if test_file is None else read_table(root / test_file, text, label)
    corpus = first + second
    if test_file is None:
        parts = newsgroup_split(len(first.texts), val=val, test_share=test_share, seed=split_seed)
    else:
        parts = _keep_test(len(first.texts), len(second.texts), val, split_seed)
    return build_task(
        corpus,
        (_kept(parts[0], train), parts[1], parts[2]),
        root,
        f"{len(corpus.texts):,} texts of {train_file}" + (f" and {test_file}" if test_file else ""),
        groups,
        **words,
    )


def _keep_test(train: int, test: int, val: int, seed: int) -> Parts:
    """Cut the texts that validate from the end of a shuffle of the first ones; those behind them test."""
    if not 0 <= val < train:
        raise InputError(f"{train} training texts cannot give {val} to validation; lower data.val.")
    order = shuffled(train, seed)
    return order[: train - val], order[train - val :], torch.arange(train, train + test)
