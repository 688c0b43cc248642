"""Texts from miniatures of the layouts that are read."""

import pickle

import pytest
import torch

from calibrant import models
from calibrant.data import Loading, TextData
from calibrant.data.order import EpochOrder
from calibrant.data.registry import create, list_data
from calibrant.data.samplers import ClassBalancedOrder
from calibrant.data.text import newsgroups, text_table
from calibrant.data.text_files import Corpus, read_table
from calibrant.data.vocabulary import Vocabulary, read_vectors
from calibrant.errors import InputError

GROUPS = {"alt.atheism": "belief", "comp.graphics": "pixel", "sci.space": "orbit"}


def write_groups(folder, each, first=0):
    for at, (group, word) in enumerate(GROUPS.items()):
        (folder / group).mkdir(parents=True)
        for k in range(each):
            message = f"From: someone\nSubject: x\n\nThe {word} number {k} caf\xe9\n"
            (folder / group / str(first + 100 * at + k)).write_text(message, encoding="latin-1")


@pytest.fixture
def root(tmp_path):
    write_groups(tmp_path / "20_newsgroups", 10)
    write_groups(tmp_path / "20news-bydate-train", 6)
    write_groups(tmp_path / "20news-bydate-test", 4, first=50)
    write_vectors(tmp_path)
    return tmp_path


def write_vectors(folder):
    (folder / "glove.6B").mkdir()
    lines = ["the 1 0 0", "pixel 0 2 0", "orbit 0 0 3", "unused 9 9 9"]
    (folder / "glove.6B" / "glove.6B.100d.txt").write_text("\n".join(lines), encoding="utf-8")


def test_groups_are_read_without_headers_and_divided_as_published(root):
    task = newsgroups(root, val=3, length=6)
    assert [len(task.train), len(task.val), len(task.test)] == [21, 3, 6]
    assert task.class_names == list(GROUPS)
    assert "subject" not in task.words
    assert "caf\xe9" in task.words
    ids = torch.cat([part.ids for part in (task.train, task.val, task.test)])
    assert sorted(ids.tolist()) == list(range(30))
    batch = task.test[torch.tensor([0, 1])]
    assert batch["tokens"].shape == (2, 6)
    assert torch.equal(batch["index"], torch.tensor([0, 1]))
    # The order of the files: ten of each group.
    assert batch["target"].tolist() == [i // 10 for i in batch["id"].tolist()]
    for text, label in zip(task.train.tokens, task.train.targets, strict=True):
        assert list(GROUPS.values())[label] in [task.words[number] for number in text]


def test_by_date_the_test_folder_tests(root):
    task = newsgroups(root, val=3, split="by_date", train=10)
    assert [len(task.train), len(task.val), len(task.test)] == [10, 3, 12]
    assert min(task.test.ids) == 18
    assert "by date" in task.note


def test_either_layout_serves_the_random_split(root):
    whole = newsgroups(root, val=3)
    (root / "20_newsgroups").rename(root / "20_newsgroup")
    assert torch.equal(newsgroups(root, val=3).test.targets, whole.test.targets)
    (root / "20_newsgroup").rename(root / "elsewhere")
    task = newsgroups(root, val=3)
    assert len(task.train) + len(task.val) + len(task.test) == 30


def test_scikit_learns_copy_is_found(tmp_path):
    """Its cache is a compressed pickle that it reads without a network."""
    import codecs

    from sklearn.utils import Bunch

    def part(each):
        rows = [(f"Subject: y\n\n{word} {k}", i) for i, word in enumerate(GROUPS.values()) for k in range(each)]
        texts, targets = zip(*rows, strict=True)
        return Bunch(
            data=list(texts), target=list(targets), target_names=list(GROUPS), filenames=[""] * len(rows)
        )

    cache = codecs.encode(pickle.dumps({"train": part(5), "test": part(2)}), "zlib_codec")
    (tmp_path / "20news-bydate_py3.pkz").write_bytes(cache)
    write_vectors(tmp_path)
    task = newsgroups(tmp_path, val=3, split="by_date")
    assert [len(task.train), len(task.val), len(task.test)] == [12, 3, 6]
    assert task.class_names == list(GROUPS)
    assert "subject" not in task.words


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(InputError, match=r"looked for in .*20news-bydate-train and .*or 20_newsgroups"):
        newsgroups(tmp_path)
    write_groups(tmp_path / "20_newsgroups", 2)
    with pytest.raises(InputError, match=r"glove.6B.100d.txt .*data.args.vectors to null"):
        newsgroups(tmp_path, val=1)
    with pytest.raises(InputError, match="not 'date'"):
        newsgroups(tmp_path, split="date")
    with pytest.raises(InputError, match="6 documents cannot give 900"):
        newsgroups(tmp_path)


def test_words_of_the_test_are_counted_only_on_request(root):
    honest = newsgroups(root, val=3, vocabulary_size=None)
    published = newsgroups(root, val=3, vocabulary_size=None, counted="all")
    assert {*honest.words} <= {*published.words}
    assert "9" in published.words


def test_vectors_follow_the_words(root):
    task = newsgroups(root, val=3)
    of = dict(zip(task.words, task.vectors.tolist(), strict=True))
    assert of["pixel"] == [0, 2, 0]
    assert of["belief"] == of[""] == [0, 0, 0]
    assert f"{len(task.words) - 1} words, 3 with a vector" in task.note
    drawn = newsgroups(root, val=3, vectors=None)
    assert drawn.vectors.shape == (len(drawn.words), 100)
    assert drawn.vectors[0].abs().max() == 0 < drawn.vectors[1:].abs().max()


def test_vocabulary_ranks_by_frequency_then_by_appearance():
    texts = ["b a, a; c\tB", "d c a'b"]
    assert Vocabulary(texts, None).words == ["", "b", "a", "c", "d", "a'b"]
    small = Vocabulary(texts, 3)
    assert small.words == ["", "b", "a"]
    # Unknown words are left out before the end is kept.
    assert small.encode(["a b c", "b a a b", "c d", ""], 3).tolist() == [[0, 2, 1], [2, 2, 1], [0] * 3, [0] * 3]
    with pytest.raises(InputError, match="holds no word"):
        Vocabulary(texts, 1)


@pytest.mark.parametrize(
    ("content", "what"),
    [("the 1 2\nof 1\n", "Line 2 .* 2 numbers"), ("the 1 x\n", "Line 1"), ("", "is empty")],
)
def test_damaged_vectors_are_refused(tmp_path, content, what):
    path = tmp_path / "vectors.txt"
    path.write_text(content)
    with pytest.raises(InputError, match=what):
        read_vectors(path, ["", "the", "of"])


ROWS = [("a b, c", "x"), ("b b", "y"), ("c", "x"), ('say "a"', "y")]


def write_table(path, kind):
    if kind == "parquet":
        from pyarrow import Table, parquet

        texts, labels = zip(*ROWS, strict=True)
        parquet.write_table(Table.from_pydict({"text": list(texts), "label": list(labels)}), path)
    elif kind == "csv":
        lines = ['"{}",{}'.format(text.replace('"', '""'), label) for text, label in ROWS]
        path.write_text("\n".join(["text,label", *lines]) + "\n")
    else:
        path.write_text("".join(f"{text}\t{label}\n" for text, label in ROWS))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_tables_are_read_alike(tmp_path, kind):
    path = write_table(tmp_path / f"table.{kind}", kind)
    columns = (0, 1) if kind == "tsv" else ("text", "label")
    corpus = read_table(path, *columns)
    assert list(zip(corpus.texts, corpus.labels, strict=True)) == ROWS


def test_columns_of_one_name_are_told_apart_by_position(tmp_path):
    from pyarrow import Table, parquet

    path = tmp_path / "twice.parquet"
    parquet.write_table(Table.from_arrays([["b"], ["a"], ["c"]], names=["x", "x", "y"]), path)
    assert read_table(path, 1, 2) == Corpus(["a"], ["c"])
    parquet.write_table(Table.from_arrays([["b"], ["a"]], names=["x", "y"]), path)
    assert read_table(path, "y", "y") == Corpus(["a"], ["a"])


def test_a_table_becomes_a_task_with_its_own_test(tmp_path):
    (tmp_path / "train.tsv").write_text("".join(f"{k % 2}\tword{k % 2} more {k}\n" for k in range(12)))
    (tmp_path / "test.tsv").write_text("1\tword1 new\n0\tword0\n")
    task = text_table(tmp_path, "train.tsv", "test.tsv", 1, 0, val=2, vectors=None, length=4)
    assert [len(task.train), len(task.val), len(task.test)] == [10, 2, 2]
    assert task.test.targets.tolist() == [1, 0]
    assert "new" not in task.words
    cut = text_table(tmp_path, "train.tsv", None, 1, 0, val=2, vectors=None, train=5)
    assert [len(cut.train), len(cut.val), len(cut.test)] == [5, 2, 2]


def test_what_a_table_lacks_is_said(tmp_path):
    write_table(tmp_path / "t.csv", "csv")
    with pytest.raises(InputError, match=r"no column 'body'; it has text, label"):
        read_table(tmp_path / "t.csv", "body", "label")
    with pytest.raises(InputError, match=r"Row 1 .* no column 5"):
        read_table(tmp_path / "t.csv", 5, 1)
    with pytest.raises(InputError, match="is not there"):
        read_table(tmp_path / "none.csv", 0, 1)
    (tmp_path / "t.txt").write_text("a")
    with pytest.raises(InputError, match=r"t\.txt is no \.csv"):
        read_table(tmp_path / "t.txt", 0, 1)
    (tmp_path / "test.csv").write_text("text,label\na,z\n")
    with pytest.raises(InputError, match="'z' has no training text"):
        text_table(tmp_path, "t.csv", "test.csv", val=0, vectors=None)
    with pytest.raises(InputError, match="cannot give 4 to validation"):
        text_table(tmp_path, "t.csv", "test.csv", val=4, vectors=None)


def test_the_network_learns_from_the_batches_of_a_task(root):
    """Reader, order, vectors and network fit together: the groups are told apart by their word."""
    task = newsgroups(root, val=3, vectors=None, length=30)
    torch.manual_seed(0)
    net = models.create("text_cnn", num_classes=3, vectors=task.vectors, width=16)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.01)
    order = EpochOrder(len(task.train), 7, seed=0)
    for epoch in range(15):
        order.set_epoch(epoch)
        for at in order:
            batch = task.train[at]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(batch["tokens"]), batch["target"]).backward()
            optimizer.step()
    everything = task.test[torch.arange(len(task.test))]
    assert (net.eval()(everything["tokens"]).argmax(1) == everything["target"]).all()
    assert torch.equal(net.embedding.weight, task.vectors)


def test_texts_are_found_among_all_data_sets(root):
    assert {"newsgroups", "text_table", "digits"} <= {*list_data()}
    task = create("newsgroups", root=str(root), val=4, length=6)
    assert [len(task.train), len(task.val), len(task.test)] == [20, 4, 6]
    with pytest.raises(InputError, match="no option 'imbalance'"):
        create("newsgroups", root=str(root), imbalance=10.0)


def test_loaders_give_rows_of_words(root):
    texts = TextData(newsgroups(root, val=3, length=6), Loading(batch_size=8, eval_batch_size=4))
    batches = list(texts.train_dataloader())
    assert [len(batch["target"]) for batch in batches] == [8, 8, 5]
    assert {*batches[0]} == {"tokens", "target", "id", "index"}
    assert sorted(torch.cat([batch["index"] for batch in batches]).tolist()) == list(range(21))
    for batch in batches:
        assert torch.equal(batch["tokens"], texts.task.train.tokens[batch["index"]])
        assert torch.equal(batch["id"], texts.task.train.ids[batch["index"]])
    val, test = texts.predict_dataloader()
    assert torch.equal(torch.cat([batch["id"] for batch in test]), texts.task.test.ids)
    assert torch.equal(torch.cat([batch["id"] for batch in val]), texts.task.val.ids)
    assert torch.equal(torch.cat([batch["id"] for batch in texts.val_dataloader()]), texts.task.val.ids)
    assert texts.class_names == list(GROUPS)
    assert texts.class_counts.tolist() == texts.train_targets.bincount().tolist()
    assert texts.context["vectors"] is texts.task.vectors


def test_samplers_choose_texts_by_their_class(root):
    def balanced(targets):
        return ClassBalancedOrder(targets, 24, 6, 0, per_class=2)

    texts = TextData(newsgroups(root, val=3, length=6), Loading(order=balanced))
    for batch in texts.train_dataloader():
        assert batch["target"].bincount(minlength=3).tolist() == [2, 2, 2]


def test_without_validation_there_is_one_split_to_predict(root):
    texts = TextData(newsgroups(root, val=0, length=6), Loading(watch_test=True))
    assert len(texts.predict_dataloader()) == 1
    assert texts.watched is texts.task.test


def test_a_table_may_say_how_its_classes_are_grouped(tmp_path):
    write_table(tmp_path / "t.csv", "csv")
    options = {"val": 0, "test_share": 0.25, "vectors": None}
    assert text_table(tmp_path, "t.csv", **options).groups is None
    assert text_table(tmp_path, "t.csv", groups="counts", **options).groups == "counts"


def test_tables_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "latin.csv").write_bytes("text,label\ncaf\xe9,a\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.csv cannot be read as text in UTF-8"):
        read_table(tmp_path / "latin.csv", "text", "label")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"broken\.parquet cannot be read as parquet"):
        read_table(tmp_path / "broken.parquet", "text", "label")
    write_table(tmp_path / "t.parquet", "parquet")
    with pytest.raises(InputError, match=r"t\.parquet has no column 2; count the columns from 0"):
        read_table(tmp_path / "t.parquet", 2, 1)
    with pytest.raises(InputError, match=r"no column 'body'; it has text, label"):
        read_table(tmp_path / "t.parquet", "body", "label")
    (tmp_path / "holes.csv").write_text("text,label\none,a\ntwo,\n")
    with pytest.raises(InputError, match=r"Row 2 of .*holes\.csv has no label"):
        read_table(tmp_path / "holes.csv", "text", "label")


def test_options_of_texts_that_cannot_be_are_refused(root):
    for options, message in (
        ({"counted": "Train"}, "counted must be 'train' or 'all', not 'Train'"),
        ({"length": 0}, "length must be at least 1 word a text, not 0"),
        ({"train": 99}, "data.train asks for 99 texts of 21"),
        ({"train": -3}, "data.train asks for -3 texts of 21"),
        ({"split_seed": -1}, r"A seed of data must lie between 0 and 2\*\*32 - 1, not -1"),
    ):
        with pytest.raises(InputError, match=message):
            create("newsgroups", root=root, val=3, **options)
    with pytest.raises(InputError, match="20 Newsgroups was looked for in"):
        create("newsgroups", root=root / "tpyo")
    assert not (root / "tpyo").exists()


def test_what_file_managers_leave_behind_is_no_text_and_no_class(root):
    (root / "20_newsgroups" / "sci.space" / ".DS_Store").write_bytes(b"\x00\x01")
    checkpoints = root / "20_newsgroups" / ".ipynb_checkpoints"
    checkpoints.mkdir()
    (checkpoints / "1").write_text("x")
    task = newsgroups(root, val=3)
    assert task.class_names == list(GROUPS)
    assert len(task.train) + len(task.val) + len(task.test) == 30


def test_tables_as_spreadsheets_write_them(tmp_path):
    (tmp_path / "t.CSV").write_text("text,label\none,10\ntwo,9\nthree,10\nfour,9\n", encoding="utf-8-sig")
    assert read_table(tmp_path / "t.CSV", "text", "label").labels == ["10", "9", "10", "9"]
    task = text_table(tmp_path, "t.CSV", val=0, test_share=0.25, vectors=None)
    assert task.class_names == ["9", "10"]  # labels that are numbers are in their order


@pytest.mark.parametrize(
    ("content", "text", "message"),
    [
        ('text,label\n"one,a\ntwo,b\n', "text", r"Line 3 of .*t\.csv cannot be read as CSV"),
        ("text,label\none,a\n", -1, r"There is no column -1 of .*t\.csv; count the columns from 0"),
        ("text,label\n", "text", r"t\.csv holds no text"),
    ],
)
def test_tables_that_would_lose_rows_are_refused(tmp_path, content, text, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.csv", text, "label")


def test_a_class_that_only_the_test_has_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\none,a\ntwo,b\n")
    (tmp_path / "b.csv").write_text("text,label\none,new\n")
    with pytest.raises(InputError, match="The class 'new' has no training text: only the test file has it"):
        text_table(tmp_path, "a.csv", "b.csv", val=0, vectors=None)


def test_vectors_of_other_makers(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(b"3 2\nthe 1 2\ncaf\xe9 3 4\n. . 5 6\nof 7 8\n")
    assert read_vectors(path, ["", "the", "of"]).tolist() == [[0, 0], [1, 2], [7, 8]]
