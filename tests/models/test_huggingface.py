"""A text classifier of Hugging Face from a folder: a tiny BERT, its tokens, two steps of training, mistakes."""

import csv
import json
import shutil

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

from calibrant import models
from calibrant.cli import main
from calibrant.data import text_table
from calibrant.data.tokens import tokenize
from calibrant.errors import InputError
from calibrant.export import export_run
from calibrant.training.recipe_files import load_recipe
from calibrant.training.runner import read_data, run
from calibrant.training.stages import restore

WORDS = ["good", "bad", "film", "was", "the", "very", "##ly"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny BERT that never saw a class, its tokenizer, and a table of texts."""
    place = tmp_path_factory.mktemp("bert")
    (place / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(str(place / "vocab.txt"), model_max_length=12).save_pretrained(place)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=12,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    BertForMaskedLM(config).save_pretrained(place)
    with (place / "texts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for k in range(40):
            word = WORDS[k % 2]
            writer.writerow([f"the film was {'very ' * (k % 5)}{word}ly", word])
    return place


def recipe_of(folder, **train):
    return load_recipe(
        "r52",
        {
            "data": {
                "root": str(folder),
                "val": 8,
                "args": {"train_file": "texts.csv", "test_file": None, "text": "text", "label": "label"},
            },
            "model": {"name": f"hf:{folder}"},
            "train": {"epochs": 1, "batch_size": 12, "optimizer": {"name": "adamw", "lr": 0.002}, **train},
            "trainer": {"accelerator": "cpu"},
        },
    )


def test_it_is_trained_and_judged(folder, tmp_path):
    recipe = recipe_of(folder)
    target = run(recipe, tmp_path / "run")
    result = target.result()
    assert [result["data"][part] for part in ("train", "val", "test")] == [24, 8, 8]
    # The longest text: [CLS] the film was very very very very good ##ly [SEP].
    assert "11 of 12 tokens a text" in result["data"]["note"]
    before = BertForMaskedLM.from_pretrained(folder).state_dict()
    after = target.read_weights("train")
    key = "bert.encoder.layer.0.attention.self.query.weight"
    moved = (after[f"body.{key}"] - before[key]).abs().max()
    # Two steps of 0.002 from where the folder left it.
    assert 0 < float(moved) < 0.01
    assert after["classifier.weight"].shape == (2, 32)
    data = read_data(recipe)
    network = restore(recipe, target, data).network
    test = target.predictions("test")
    rows = data.task.test.tokens
    with torch.inference_mode():
        alone = torch.cat([network(row[None]) for row in rows])
    torch.testing.assert_close(alone, test.logits, atol=1e-5, rtol=1e-5)


def test_its_words_are_those_of_its_tokenizer(folder):
    task = text_table(folder, "texts.csv", val=8, tokenizer=str(folder), length=7, split_seed=3)
    first = [task.words[n] for n in task.train.tokens[0].tolist()]
    assert first[:5] == ["[CLS]", "the", "film", "was", first[4]]
    assert first[-1] in ("", "[SEP]")
    assert task.train.tokens.shape[1] == 7
    assert (task.padding, task.words[0], task.vectors) == (0, "", None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model.name", "hf:nowhere"], "A tokenizer was looked for in"),
        (["--model.args", "{layers: 3}"], "has no option 'layers'; its config.json names all."),
        (["--model.name", "text_cnn", "--data.args.tokenizer", "FOLDER"], "texts that a tokenizer cut"),
    ],
)
def test_a_mistake_is_one_sentence(folder, tmp_path, capsys, given, said):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"data:\n  name: text_table\n  root: {folder}\n  val: 8\n  args: {{train_file: texts.csv}}\n"
        f"model:\n  name: hf:{folder}\n"
    )
    given = [str(folder) if word == "FOLDER" else word for word in given]
    assert main(["run", str(recipe), "--folder", str(tmp_path / "run"), *given]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_folder_without_a_network_is_said(tmp_path):
    with pytest.raises(InputError, match=r"config\.json, weights and tokenizer were expected"):
        models.create(f"hf:{tmp_path}", num_classes=2, padding=0)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="takes texts that a tokenizer cuts"):
        models.create(f"hf:{tmp_path}", num_classes=2)


def test_damaged_weights_are_said(folder, tmp_path):
    shutil.copy(folder / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:200])
    with pytest.raises(InputError, match=r"cannot be read: .*header"):
        models.create(f"hf:{tmp_path}", num_classes=2, padding=0)


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_damaged_configuration_is_said(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json cannot be read: .*config"):
        models.create(f"hf:{tmp_path}", num_classes=2, padding=0)


@pytest.mark.parametrize("content", ["{", "[]", '{"added_tokens": [], "model": 3}'])
def test_a_damaged_tokenizer_is_said(folder, tmp_path, content):
    for name in ("config.json", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"holds no tokenizer that can be read: ."):
        tokenize(["good"], str(tmp_path))


def test_an_export_says_how_texts_are_cut_and_not_where_the_folder_is(folder, tmp_path):
    target = run(recipe_of(folder), tmp_path / "run")
    found = export_run(target, formats=["torch"], samples=4)
    said = found.facts["input"]["meaning"]
    assert "by the tokenizer of the network" in said
    assert "keeps its first 11" in said
    assert "0 fills the end" in said
    assert found.facts["words"][2:5] == ["[CLS]", "[SEP]", "[MASK]"]
    assert found.facts["run"]["model"] == f"hf:{folder.name}"
    assert str(folder) not in json.dumps(found.facts)
