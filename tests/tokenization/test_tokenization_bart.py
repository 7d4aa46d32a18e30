import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import transformers
from tokenizers import AddedToken

from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer, check_fits

TEXTS = [
    "",
    " ",
    "Hello world",
    " Hello world",
    "  two  spaces\tand a tab\n",
    " naïve café — “quoted” …",
    " 中文 и русский, עברית",
    " 👩‍👩‍👧 family \U0001f9ec emoji",
    "e\u0301 combining, \u2028 separator, \x00 zero, \ufeff mark",
    " in the <mask> middle",
    "<mask><s></s><pad><unk>",
    " don't WE'LL 1234567890 a.b.c",
    " word" * 3000,
    "x" * 5000,
]
PAIR = ("vocab.json", "merges.txt")
MASK = AddedToken("<mask>", lstrip=True, special=True)  # as published; transformers 5 forgets it of the pair


@pytest.fixture(params=["whole file", "pair"])
def folder(request: pytest.FixtureRequest, tokenizer_folder: Path, tmp_path: Path) -> Path:
    """The trained tokenizer as tokenizer.json alone, and as vocab.json with merges.txt."""
    for file in ["tokenizer.json"] if request.param == "whole file" else PAIR:
        shutil.copy(tokenizer_folder / file, tmp_path)
    return tmp_path


@pytest.mark.parametrize("settings", [{}, {"add_prefix_space": True}])
def test_gives_what_transformers_gives(folder: Path, settings: dict[str, bool]) -> None:
    ours = BartTokenizer.from_pretrained(folder, **settings)
    reference = transformers.BartTokenizer.from_pretrained(folder, mask_token=MASK, **settings)
    assert ours.get_vocab() == reference.get_vocab()
    for text in TEXTS:
        encoded = ours([text], max_length=1024, truncation=True, return_tensors="pt")
        expected = reference([text], max_length=1024, truncation=True, return_tensors="pt")
        assert encoded.keys() == expected.keys()
        assert encoded["input_ids"].tolist() == expected["input_ids"].tolist(), text[:40]
        ids = encoded["input_ids"][0]
        for skip in (True, False):
            decoded = ours.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
            assert decoded == reference.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
    padded = ours(TEXTS, max_length=50, truncation=True, padding=True, return_tensors="pt")
    expected = reference(TEXTS, max_length=50, truncation=True, padding=True, return_tensors="pt")
    assert padded["input_ids"].tolist() == expected["input_ids"].tolist()
    assert padded["attention_mask"].tolist() == expected["attention_mask"].tolist()
    assert ours.batch_decode(padded["input_ids"]) == reference.batch_decode(padded["input_ids"])


def texts_with_masks(count: int) -> list[str]:
    """Masks between words, special tokens and all kinds of space, in every order."""
    spaces = ["", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u200b", "\u2028", "\x1f", "\x85"]
    pieces = [f"{space}<mask>" for space in spaces]
    pieces += [" <mask", "mask>", "<MASK>", " a", "the", ".", "'s", "\u00e9", " \u4e2d"]
    pieces += ["<s>", " </s>", "<pad>", "<unk>"]
    chosen = random.Random(0)
    return ["".join(chosen.choices(pieces, k=chosen.randint(1, 9))) for _ in range(count)]


def test_a_mask_takes_the_space_before_it(folder: Path, tokenizer_folder: Path) -> None:
    """From the older pair as from tokenizer.json, whose rule transformers reads in the file."""
    ours = BartTokenizer.from_pretrained(folder)
    published = transformers.BartTokenizer.from_pretrained(tokenizer_folder)
    texts = texts_with_masks(1000)
    assert ours(texts).input_ids == published(texts).input_ids
    assert ours(" the <mask>").input_ids == [*ours(" the").input_ids[:-1], 799, 2]
    assert published.added_tokens_decoder[799].lstrip


def test_files_that_say_how_a_mask_is_read_are_believed(folder: Path, tmp_path: Path) -> None:
    """As transformers does: what a model was trained with is what its folder says."""
    if (whole := folder / "tokenizer.json").exists():
        content = json.loads(whole.read_bytes())
        next(token for token in content["added_tokens"] if token["content"] == "<mask>")["lstrip"] = False
        whole.write_text(json.dumps(content))
    else:
        mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": False, "rstrip": False, "single_word": False}
        (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": {**mask, "normalized": True}}))
    ours = BartTokenizer.from_pretrained(folder)
    texts = texts_with_masks(200)
    assert ours(texts).input_ids == transformers.BartTokenizer.from_pretrained(folder)(texts).input_ids
    assert ours.tokenize(" the <mask>")[-2:] == ["\u0120", "<mask>"]
    ours.save_pretrained(tmp_path / "saved")
    assert BartTokenizer.from_pretrained(tmp_path / "saved")(texts).input_ids == ours(texts).input_ids


def test_truncation_keeps_both_ends(tokenizer_folder: Path) -> None:
    tokenizer = BartTokenizer.from_pretrained(tokenizer_folder)
    ids = tokenizer([" word" * 3000], max_length=1024, truncation=True)["input_ids"][0]
    assert len(ids) == 1024
    assert (ids[0], ids[-1]) == (0, 2)


def test_decoding_gives_the_text_back(tokenizer_folder: Path) -> None:
    tokenizer = BartTokenizer.from_pretrained(tokenizer_folder)
    for text in TEXTS:
        if "<" not in text:
            ids = tokenizer(text)["input_ids"]
            assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_what_is_saved_loads_everywhere(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    ours = BartTokenizer.from_pretrained(folder)
    files = ours.save_pretrained(saved)
    names = {"tokenizer.json", "tokenizer_config.json", *PAIR}
    assert {Path(file).name for file in files} == names == {file.name for file in saved.iterdir()}
    assert json.loads((saved / "tokenizer_config.json").read_bytes())["tokenizer_class"] == "BartTokenizer"
    expected = ours(TEXTS)["input_ids"]
    assert transformers.AutoTokenizer.from_pretrained(saved)(TEXTS)["input_ids"] == expected
    assert BartTokenizer.from_pretrained(saved)(TEXTS)["input_ids"] == expected
    (saved / "tokenizer.json").unlink()  # what a program that knows only the older pair reads
    assert BartTokenizer.from_pretrained(saved).get_vocab() == ours.get_vocab()


@pytest.mark.parametrize(("stated", "expected"), [(None, 1024), (10**30, 1024), (512, 512), (4096, 4096)])
def test_greatest_length(tokenizer_folder: Path, tmp_path: Path, stated: int | None, expected: int) -> None:
    shutil.copy(tokenizer_folder / "tokenizer.json", tmp_path)
    if stated is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": stated}))
    assert BartTokenizer.from_pretrained(tmp_path).model_max_length == expected


def broken_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": ')


def not_utf8(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b"\xff\xfe{")


def other_model(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": {"type": "WordPiece", "vocab": {}}}')


def merges_of_unknown_tokens(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_bytes())
    content["model"]["merges"].append(["nothing", "known"])
    (folder / "tokenizer.json").write_text(json.dumps(content))


def broken_config(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("[]")


def no_merges(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "merges.txt").unlink()


def broken_merges(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "merges.txt").write_text("#version: 0.2\nnothing known\n")


def no_mask(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    vocabulary = json.loads((folder / "vocab.json").read_bytes())
    del vocabulary["<mask>"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))


def emptied(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (emptied, "no tokenizer"),
        (broken_json, "tokenizer.json is not JSON"),
        (not_utf8, "tokenizer.json is not JSON"),
        (other_model, "tokenizer.json is not a BPE tokenizer"),
        (merges_of_unknown_tokens, "tokenizer.json cannot be read"),
        (broken_config, "tokenizer_config.json holds no JSON object"),
        (no_merges, "merges.txt"),
        (broken_merges, "merges.txt cannot be read"),
        (no_mask, "lacks BART's special tokens <mask>"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(tokenizer_folder: Path, tmp_path: Path, damage, named: str) -> None:
    folder = tmp_path / "tokenizer"
    shutil.copytree(tokenizer_folder, folder)
    BartTokenizer.from_pretrained(folder)
    damage(folder)
    with pytest.raises(InputError, match=named) as caught:
        BartTokenizer.from_pretrained(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_a_file_are_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tokenizer_folder / "tokenizer.json"):
        with pytest.raises(InputError, match=str(path)) as caught:
            BartTokenizer.from_pretrained(path)
        assert "\n" not in str(caught.value)


def test_only_the_models_own_tokenizer_fits(tokenizer_folder: Path) -> None:
    tokenizer = BartTokenizer.from_pretrained(tokenizer_folder)
    special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    check_fits(tokenizer, SimpleNamespace(vocab_size=800, **special), "model")
    check_fits(tokenizer, SimpleNamespace(vocab_size=1000, **special), "model")
    check_fits(tokenizer, SimpleNamespace(vocab_size=799, **special), "model")  # all but <mask>
    with pytest.raises(InputError, match=r"^model: .*\b798, .*\b798 tokens"):
        check_fits(tokenizer, SimpleNamespace(vocab_size=798, **special), "model")
    for name in special:
        with pytest.raises(InputError, match=f"^model: {name} is {special[name]} .*, 7 "):
            check_fits(tokenizer, SimpleNamespace(vocab_size=800, **{**special, name: 7}), "model")


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("name", ["bos", "eos", "unk", "sep", "pad", "cls", "mask"])
def test_a_special_token_may_be_null(tokenizer_folder: Path, tmp_path: Path, name: str, file: str) -> None:
    """Texts have the tokens that transformers gives them; its BART class does not take two of the seven."""
    (tmp_path / "tokenizer.json").hardlink_to(tokenizer_folder / "tokenizer.json")
    (tmp_path / file).write_text(json.dumps({f"{name}_token": None}))
    general = transformers.PreTrainedTokenizerFast if name in ("cls", "sep") else transformers.BartTokenizer
    tokenizer, reference = BartTokenizer.from_pretrained(tmp_path), general.from_pretrained(tmp_path)
    assert [tokenizer(text)["input_ids"] for text in TEXTS] == [reference(text)["input_ids"] for text in TEXTS]
    named = BartTokenizer.from_pretrained(tokenizer_folder).special_tokens_map
    assert tokenizer.special_tokens_map == named
    tokenizer.save_pretrained(tmp_path / "saved")
    assert BartTokenizer.from_pretrained(tmp_path / "saved").special_tokens_map == named


def test_files_for_versions_of_transformers(tokenizer_folder: Path, tmp_path: Path) -> None:
    """The newest that is not newer than the installed one counts."""
    content = json.loads((tokenizer_folder / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer.4.0.0.json").write_text(json.dumps(content))
    files = ["tokenizer.json", "tokenizer.999.0.json", "tokenizer.4.0.0.json", "tokenizer.2.0.0.json"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"fast_tokenizer_files": files}))
    tokenizer, reference = (kind.from_pretrained(tmp_path) for kind in (BartTokenizer, transformers.BartTokenizer))
    assert [tokenizer(text)["input_ids"] for text in TEXTS] == [reference(text)["input_ids"] for text in TEXTS]
    tokenizer.save_pretrained(tmp_path / "saved")
    assert BartTokenizer.from_pretrained(tmp_path / "saved").get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (None, "it must be a list of names of files in this folder"),
        (["../tokenizer.4.0.0.json"], "it must be a list of names of files in this folder"),
        (["tokenizer.x.json"], "Invalid version"),
        (["tokenizer.4.0.0.json"], "neither tokenizer.4.0.0.json nor vocab.json is there"),
    ],
)
def test_files_for_versions_that_are_none(tokenizer_folder: Path, tmp_path: Path, files: object, said: str) -> None:
    (tmp_path / "tokenizer.json").hardlink_to(tokenizer_folder / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"fast_tokenizer_files": files}))
    with pytest.raises(InputError, match=said):
        BartTokenizer.from_pretrained(tmp_path)
