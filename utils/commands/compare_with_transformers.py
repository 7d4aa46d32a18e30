"""Whether transformers writes the same summaries, token for token: what scripts/verify_published.sh begins with.

Both search in float64, so that rounding decides nothing between two summaries that are nearly as likely.
"""

import gc
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError

from ..cli.options import at_least, option
from ..cli.run import run_command
from ..cli.shared_args import output_limit

if TYPE_CHECKING:
    from torch import Tensor

    from bart.tokenization.tokenization_bart import BartTokenizer

# Torch and transformers take seconds to import, so the functions do it: --help and a wrong flag are answered at once.

_DIFFERS = 1  # exit code
_TEXTS_AT_ONCE = 4  # so that most are padded
Tokens = list[tuple[list[int], list[int]]]  # of each text and of its summary


@dataclass
class CompareArguments:
    model: str = option("", "model", "a Hugging Face folder or a hub id", positional=True)
    config: str = option("", "model", "JSON configuration: the search settings and the prefix", positional=True)
    data_dir: str = option("", "data", "folder with test.source, or a data set of the hub", positional=True)
    texts: int = option(20, "data", "the first so many texts of the test split", check=at_least(1))
    max_source_length: int = option(1024, "data", "tokens read of a text", check=at_least(2))
    eval_max_gen_length: int | None = option(
        None, "search", "tokens of a summary at most (default: the configuration's)", check=at_least(2)
    )
    eval_beams: int | None = option(
        None, "search", "summaries followed at once (default: the configuration's)", check=at_least(1)
    )
    device: str = option(
        "auto", "precision", "where to run; auto: a GPU where there is one", choices=("auto", "cpu", "cuda")
    )

    def check(self) -> None:
        """Nothing to check together."""


def compare(arguments: CompareArguments) -> None:
    """Print whether the tokens are the same. Ends the program with code 1 if they are not.

    Raises InputError if there are no texts, no such model, or an impossible search.
    """
    import torch
    import transformers

    from ..checkpoint.pretrained import load_tokenizer
    from ..data.formats.tables import AskedColumns
    from ..data.sources import open_data
    from ..data.splits import read_pairs

    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    data = open_data(arguments.data_dir, AskedColumns(None, None))
    data.check_has(["test"])
    texts = read_pairs(data.lines_of("test"), "test", arguments.texts, needs_targets=False).sources
    config = _evaluated_config(arguments)
    tokenizer = load_tokenizer(None, arguments.model, config)

    start = time.perf_counter()
    try:
        their_model, their_tokenizer = _load_theirs(arguments)
    except Exception as error:  # whatever a version of transformers raises where it cannot read a model
        reason = " ".join(str(error).split())[:200]
        print(
            f"{arguments.model}: nothing is compared, transformers {transformers.__version__} cannot read it: {reason}"
        )
        return
    theirs = _their_tokens(their_model, their_tokenizer, texts, config, arguments.max_source_length)
    del their_model  # one model at a time in memory
    gc.collect()
    ours = _our_tokens(arguments, tokenizer, texts, config)

    different = [row for row, (our, their) in enumerate(zip(ours, theirs, strict=True)) if our != their]
    for row in different:
        print(_first_difference(row, ours[row], theirs[row]))
    verdict = f"{len(different)} of {len(texts)} differ from" if different else "the same tokens as"
    print(
        f"{arguments.model}, {len(texts)} texts: {verdict} transformers {transformers.__version__} "
        f"({sum(len(written) for _, written in ours):,} tokens in float64 on {arguments.device}, "
        f"{time.perf_counter() - start:.0f} s)"
    )
    if different:
        sys.exit(_DIFFERS)


def _load_theirs(arguments: CompareArguments) -> tuple[Any, Any]:
    """Model and tokenizer as transformers reads them."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = transformers.BartForConditionalGeneration.from_pretrained(arguments.model, dtype=torch.float64)
    return model.to(arguments.device).eval(), transformers.BartTokenizer.from_pretrained(arguments.model)


def _their_tokens(model: Any, tokenizer: Any, texts: list[str], config: BartConfig, max_length: int) -> Tokens:
    import transformers

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
    arguments: CompareArguments, tokenizer: "BartTokenizer", texts: list[str], config: BartConfig
) -> Tokens:
    import torch

    from bart.modeling.modeling_bart import BartForConditionalGeneration

    from ..data.examples import pad_sources
    from ..data.tokens.token_array import encode_texts

    model = BartForConditionalGeneration.from_pretrained(arguments.model, config).to(arguments.device, torch.float64)
    sources = encode_texts(texts, tokenizer, arguments.max_source_length, config.prefix)
    written: list[list[int]] = []
    for part in _parts(sources):
        input_ids, mask = pad_sources(part, config.pad_token_id, config.max_position_embeddings)
        sequences = model.generate(input_ids.to(arguments.device), mask.to(arguments.device))
        assert isinstance(sequences, torch.Tensor)
        written += _without_padding(sequences, config)
    return list(zip([source.tolist() for source in sources], written, strict=True))


def _evaluated_config(arguments: CompareArguments) -> BartConfig:
    """The model's own shape and token ids, with the search settings that run_eval.py would have."""
    from bart.checkpoints.weights import read_config
    from bart.generation.arguments import check_call

    given = BartConfig.from_json_file(arguments.config)
    config = read_config(arguments.model).copy(**given.search_settings(), prefix=given.prefix)
    length, beams = arguments.eval_max_gen_length, arguments.eval_beams
    config = config.copy(
        **({} if length is None else output_limit(length)), **({} if beams is None else {"num_beams": beams})
    )
    positions = config.max_position_embeddings
    if arguments.max_source_length > positions:
        raise InputError(f"--max_source_length {arguments.max_source_length}: the model has {positions} positions")
    check_call(config, {})
    return config


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _TEXTS_AT_ONCE):
        yield items[start : start + _TEXTS_AT_ONCE]


def _without_padding(tokens: "Tensor", config: BartConfig) -> list[list[int]]:
    """The ids (N, L) of each row up to the last one that is not padding."""
    rows: list[list[int]] = tokens.tolist()
    for row in rows:
        while row and row[-1] == config.pad_token_id:
            row.pop()
    return rows


def _first_difference(row: int, ours: tuple[list[int], list[int]], theirs: tuple[list[int], list[int]]) -> str:
    """Where the tokens of a text part: those of the text itself, or those of its summary."""
    what, (our, their) = ("the text itself", (ours[0], theirs[0]))
    if our == their:
        what, (our, their) = ("its summary", (ours[1], theirs[1]))
    at = next(
        (i for i, pair in enumerate(zip(our, their, strict=False)) if pair[0] != pair[1]), min(len(our), len(their))
    )
    return f"text {row + 1}: {what} differs from token {at + 1} on: here {our[at : at + 8]}, there {their[at : at + 8]}"


if __name__ == "__main__":
    sys.exit(run_command(CompareArguments, "Compare summaries with transformers', token for token.", compare))
