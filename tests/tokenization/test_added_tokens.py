"""Tokens that are added to a tokenizer, beside transformers: the same ids, and texts that come back."""

import shutil
from pathlib import Path

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from bart.tokenization.added_token_decoder import is_misread
from bart.tokenization.tokenization_bart import BartTokenizer
from bart.tokenization.tokenizer_files import SPECIAL_TOKENS

# Words whose letters are all names of bytes are those that transformers' class garbles.
TOKENS = ["COVID-19", "covid", "<sep>", "New York", "日本", "naïveté", "C++é.*", "Ġé", "\U0001f9ec", "foo", "foobar"]
PIECES = [*TOKENS, "the", " ", "  ", "\n", "x", "-", "é", "caf", "Ã©", "fo", "New", "\u0301", "1", "'s", "日", "<se"]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=12).map("".join)
texts = texts.filter(lambda text: not any(token in text for token in SPECIAL_TOKENS))  # which are left out in decoding


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> BartTokenizer:
    tokenizer = BartTokenizer.from_pretrained(tokenizer_folder)
    assert tokenizer.add_tokens(TOKENS) == len(TOKENS)
    return tokenizer


@pytest.fixture(scope="module")
def saved(tokenizer: BartTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reference(tokenizer_folder: Path) -> transformers.BartTokenizer:
    """Transformers' own class, to which the same tokens are added."""
    reference = transformers.BartTokenizer.from_pretrained(tokenizer_folder)
    reference.add_tokens(TOKENS)
    return reference


@pytest.fixture(scope="module")
def reloaded(saved: Path) -> list[transformers.PreTrainedTokenizerBase]:
    """What our class and transformers read from our folder."""
    return [cls.from_pretrained(saved) for cls in (BartTokenizer, transformers.AutoTokenizer)]


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(text=texts)
def test_texts_are_split_as_transformers_does_and_come_back(tokenizer, reference, reloaded, text: str) -> None:
    ids = reference(text).input_ids
    for reader in (tokenizer, *reloaded):
        assert reader(text).input_ids == ids
        assert reader.backend_tokenizer.encode_batch_fast([text, text])[1].ids == ids
        assert reader.decode(ids) == f"<s>{text}</s>"
        assert reader.batch_decode([ids], skip_special_tokens=True) == [text]


def test_a_word_of_letters_that_name_bytes_comes_back(tokenizer: BartTokenizer, reference, reloaded) -> None:
    """Their class garbles it; if it no longer does, bart/tokenization/added_token_decoder.py may go."""
    misread = [token for token in TOKENS if is_misread(token)]
    assert misread == ["naïveté", "C++é.*", "Ġé"]
    for token in TOKENS:
        (token_id,) = tokenizer.backend_tokenizer.encode(token, add_special_tokens=False).ids
        assert (reference.decode([token_id]) != token) == (token in misread)
        for reader in (tokenizer, *reloaded):
            assert reader.decode([token_id]) == reader.decode(token_id) == token
            assert reader.convert_tokens_to_string(["Ġthe", token]) == f" the{token}"


def test_without_tokenizer_json_they_are_still_there(tokenizer: BartTokenizer, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer.json").unlink()
    older = BartTokenizer.from_pretrained(tmp_path)
    assert older.get_vocab() == tokenizer.get_vocab()
    assert older("".join(PIECES)).input_ids == tokenizer("".join(PIECES)).input_ids


def test_a_tokenizer_without_them_is_written_as_ever(tokenizer_folder: Path, tmp_path: Path) -> None:
    files = BartTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path)
    assert len(files) == 4 and not (tmp_path / "added_tokens.json").exists()
    assert '"BartTokenizer"' in (tmp_path / "tokenizer_config.json").read_text()
