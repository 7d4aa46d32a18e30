"""Comparing: the same texts and the same model in both libraries, their tokens side by side.

Both search in float64, so that rounding does not decide between two summaries that are nearly equally likely.
"""

import gc
import time
from collections.abc import Iterator
from typing import Any

import torch
import transformers

from bart.checkpoints.weights import read_config
from bart.configuration.configuration_bart import BartConfig
from bart.generation.arguments import check_call
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer

from ..checkpoint.pretrained import load_tokenizer
from ..cli.shared_args import checked_length
from ..data.batch import pad_sources
from ..data.formats.tables import AskedColumns
from ..data.sources import open_data
from ..data.splits import read_pairs
from ..data.tokens.encode import encode_texts
from ..runtime.hardware import device_of_one_process

_TEXTS_AT_ONCE = 4  # more than one, so that most are padded
Tokens = list[tuple[list[int], list[int]]]  # for each text its own ids and those of its summary


def compare_with_transformers(
    model: str,
    config_path: str,
    data_dir: str,
    *,
    count: int,
    max_source_length: int,
    limits: dict[str, Any],
    device: str,
    allow_non_finite: bool = False,
) -> bool:
    """Print whether both libraries write the same tokens, and each text with other ones.

    Args:
        model: A Hugging Face folder or a hub id.
        config_path: JSON configuration with the search settings and the prefix.
        data_dir: Folder with test.source, or a data set of the hub.
        count: How many texts to compare, from the start of the test split.
        max_source_length: The most tokens to read of a text.
        limits: Search settings in the place of the configuration's.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one.
        allow_non_finite: Take weights that are NaN or infinite.

    Returns:
        False if a token differs. True also if transformers cannot read the model; then nothing is compared.

    Raises:
        InputError: There are no texts, no such model, or the search is impossible.
    """
    # Read everything that can be refused before the models are loaded.
    device = device_of_one_process(device)
    data = open_data(data_dir, AskedColumns(None, None))
    data.check_has(["test"])
    texts = read_pairs(data.lines_of("test"), "test", count, needs_targets=False).sources
    config = _evaluated_config(model, config_path, limits, max_source_length)
    tokenizer = load_tokenizer(None, model, config)

    # Run both, with one model at a time in memory.
    start = time.perf_counter()
    try:
        their_model, their_tokenizer = _load_theirs(model)
    except Exception as error:  # versions of transformers raise different ones for a model that they cannot read
        reason = " ".join(str(error).split())[:200]
        print(f"{model}: nothing is compared, transformers {transformers.__version__} cannot read it: {reason}")
        return True
    their_model = their_model.to(device)
    theirs = _their_tokens(their_model, their_tokenizer, texts, config, max_source_length)
    del their_model
    gc.collect()
    our_model = BartForConditionalGeneration.from_pretrained(model, config, allow_non_finite=allow_non_finite)
    our_model = our_model.to(device, torch.float64)
    ours = _our_tokens(our_model, tokenizer, texts, max_source_length)

    # Say where they differ.
    different = [row for row, (our, their) in enumerate(zip(ours, theirs, strict=True)) if our != their]
    for row in different:
        print(first_difference(row, ours[row], theirs[row]))
    verdict = f"{len(different)} of {len(texts)} differ from" if different else "the same tokens as"
    print(
        f"{model}, {len(texts)} texts: {verdict} transformers {transformers.__version__} "
        f"({sum(len(written) for _, written in ours):,} tokens in float64 on {device}, "
        f"{time.perf_counter() - start:.0f} s)"
    )
    return not different


def first_difference(row: int, ours: tuple[list[int], list[int]], theirs: tuple[list[int], list[int]]) -> str:
    """Say from which token on a text differs, or its summary if the text itself does not."""
    what, (our, their) = ("the text itself", (ours[0], theirs[0]))
    if our == their:
        what, (our, their) = ("its summary", (ours[1], theirs[1]))
    at = next(
        (i for i, pair in enumerate(zip(our, their, strict=False)) if pair[0] != pair[1]), min(len(our), len(their))
    )
    return f"text {row + 1}: {what} differs from token {at + 1} on: here {our[at : at + 8]}, there {their[at : at + 8]}"


def _evaluated_config(model: str, config_path: str, limits: dict[str, Any], max_source_length: int) -> BartConfig:
    """Take the model's own shape and token ids, and the search settings that run_eval.py would have."""
    given = BartConfig.from_json_file(config_path)
    config = read_config(model).copy(**given.search_settings(), prefix=given.prefix).copy(**limits)
    checked_length("max_source_length", max_source_length, config)
    check_call(config, {})
    return config


def _load_theirs(model: str) -> tuple[Any, Any]:
    """Load model and tokenizer as transformers reads them."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    loaded = transformers.BartForConditionalGeneration.from_pretrained(model, dtype=torch.float64)
    return loaded.eval(), transformers.BartTokenizer.from_pretrained(model)


def _their_tokens(model: Any, tokenizer: Any, texts: list[str], config: BartConfig, max_length: int) -> Tokens:
    special = ("bos_token_id", "pad_token_id", "eos_token_id", "decoder_start_token_id")
    settings = {**config.search_settings(), **{name: getattr(config, name) for name in special}}
    model.generation_config = transformers.GenerationConfig(
        **{name: value for name, value in settings.items() if value is not None}
    )
    sources, written = [], []
    for part in _parts([config.prefix + text for text in texts]):
        batch = tokenizer(part, max_length=max_length, truncation=True, padding=True, return_tensors="pt")
        sources += _without_padding(batch["input_ids"], config)
        written += _without_padding(model.generate(**batch.to(model.device)), config)
    return list(zip(sources, written, strict=True))


def _our_tokens(
    model: BartForConditionalGeneration, tokenizer: BartTokenizer, texts: list[str], max_length: int
) -> Tokens:
    config, device = model.config, model.device
    sources = encode_texts(texts, tokenizer, max_length, config.prefix)
    written: list[list[int]] = []
    for part in _parts(sources):
        input_ids, mask = pad_sources(part, config.pad_token_id, config.max_position_embeddings)
        sequences = model.generate(input_ids.to(device), mask.to(device))
        assert isinstance(sequences, torch.Tensor)
        written += _without_padding(sequences, config)
    return list(zip([source.tolist() for source in sources], written, strict=True))


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _TEXTS_AT_ONCE):
        yield items[start : start + _TEXTS_AT_ONCE]


def _without_padding(tokens: torch.Tensor, config: BartConfig) -> list[list[int]]:
    """The ids (N, L) of each row up to the last one that is not padding."""
    rows: list[list[int]] = tokens.tolist()
    for row in rows:
        while row and row[-1] == config.pad_token_id:
            row.pop()
    return rows
