"""Reads all that a training needs beside the weights: first what is cheap to refuse, then the tokens."""

from dataclasses import dataclass
from pathlib import Path

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer, check_fits_mask

from ..checkpoint.pretrained import load_config, load_tokenizer
from ..cli.shared_args import shares_of
from ..cli.training_args import DataSettings, ModelSettings, OptimizationSettings
from ..runtime.world import WorldInfo
from .batch import EXACT, FEW, BatchDataset, padded_shapes
from .batch_sampler import LengthBucketSampler
from .denoising import Noise, NoiseSettings
from .divided import open_splits
from .examples import DenoisingExamples, Examples, JoinedExamples, Origin, PairExamples
from .formats.tables import AskedColumns
from .line_files import LineFile, iterate_lines
from .model_vocabulary import smaller_vocabulary
from .new_tokens import NewTokens, add_tokens_of_file, check_tokens_of_file, grown
from .sources import open_data
from .splits import Pairs, SplitFiles, complete_pairs, read_pairs, scan_documents, scan_split
from .tokens.block_cache import BlockLimits, prepare_blocks
from .tokens.pair_cache import PreparedPairs, TokenLimits, prepare_pairs


@dataclass
class RawTexts:
    """Texts, and the tokenizer and configuration that read them."""

    train: SplitFiles | LineFile  # pairs, or for denoising documents
    val: SplitFiles | LineFile
    test: Pairs | None  # None if it is not evaluated
    test_files: SplitFiles | None  # None if there is no test split
    pairs: SplitFiles | None  # learnt beside documents
    config: BartConfig  # of the model that is trained
    tokenizer: BartTokenizer
    new_tokens: NewTokens | None  # that the model to start from lacks; None if there are none


@dataclass
class TokenizedData:
    """Tokens, and the sampler that says in which order they are learnt."""

    train: BatchDataset
    val: BatchDataset
    val_references: list[str]  # the target texts of val
    prepared: dict[str, PreparedPairs]  # train and val if they are pairs: the same tokens, and facts of the texts
    sampler: LengthBucketSampler
    total_steps: int  # optimizer steps of the whole run


def read_inputs(data: DataSettings, model: ModelSettings, checkpoint: Path | None) -> RawTexts:
    """Read texts, configuration and tokenizer, the latter two from the ``checkpoint`` of a run that is resumed.

    Raises InputError.
    """
    scan = _scan_documents if data.task == "denoising" else _scan_pairs
    texts = scan(data)
    if checkpoint is None:
        config = load_config(model.config_path, model.model_name_or_path, model.max_positions)
        config = _with_dropouts(config, model)
        tokenizer = load_tokenizer(model.tokenizer_name_or_path, model.model_name_or_path, config)
        if model.max_positions is not None:  # its own limit is BART's, and transformers truncates at it
            tokenizer.model_max_length = max(tokenizer.model_max_length, model.max_positions)
    else:
        config = load_config(None, str(checkpoint))
        tokenizer = load_tokenizer(None, str(checkpoint), config)
    if data.task == "denoising":
        check_fits_mask(tokenizer, config)
    new_tokens = None
    if model.add_tokens is not None and checkpoint is not None:
        check_tokens_of_file(Path(model.add_tokens), tokenizer)
    elif model.add_tokens is not None:
        new_tokens = add_tokens_of_file(Path(model.add_tokens), tokenizer, config)
        config = grown(config, new_tokens)
    return RawTexts(*texts, config, tokenizer, new_tokens)


# train, val, test, test_files and pairs of RawTexts
_ScannedTexts = tuple[SplitFiles | LineFile, SplitFiles | LineFile, Pairs | None, SplitFiles | None, SplitFiles | None]


def _scan_pairs(settings: DataSettings) -> _ScannedTexts:
    """Scan the splits of the pairs to learn, and the test split if there is one."""
    columns = AskedColumns(settings.text_column, settings.summary_column)
    data = open_splits(settings.data_dir, columns, shares_of(settings.split))
    data.check_has(["train", "val", "test"] if settings.needs_test else ["train", "val"])
    train, val = (scan_split(data.lines_of(split), split, data.rows_of(split)) for split in ("train", "val"))
    if not data.has("test"):
        return train, val, None, None, None
    rows = data.rows_of("test")
    test = None
    if settings.n_test != 0:
        test = read_pairs(data.lines_of("test"), "test", settings.n_test, rows=rows)
    # Also if nothing is evaluated here: an evaluation that follows must not be the first to find a fault.
    return train, val, test, scan_split(data.lines_of("test"), "test", rows), None


def _scan_documents(settings: DataSettings) -> _ScannedTexts:
    """Scan the splits of the documents to restore, and the pairs that are learnt beside them."""
    train, val = (scan_documents(settings.data_dir, split) for split in ("train", "val"))
    if settings.pairs_dir is None:
        return train, val, None, None, None
    data = open_data(settings.pairs_dir, AskedColumns(settings.text_column, settings.summary_column))
    data.check_has(["train"])
    return train, val, None, None, scan_split(data.lines_of("train"), "train")


def tokenize_inputs(
    settings: DataSettings, optimization: OptimizationSettings, inputs: RawTexts, world: WorldInfo
) -> TokenizedData:
    """Find or compute the tokens, and lay out the run.

    Raises InputError if an example exceeds the tokens of a batch or the warm-up is as long as the run.
    """
    if settings.task == "denoising":
        train, val, val_references, prepared = _tokenize_documents(settings, optimization.seed, inputs)
    else:
        train, val, val_references, prepared = _tokenize_pairs(settings, inputs)
    multiples = FEW if optimization.batch_shapes == "few" else EXACT
    if optimization.max_tokens_per_batch is not None:
        _check_each_fits(optimization.max_tokens_per_batch, train, multiples)
    sampler = LengthBucketSampler(
        train.source_lengths,
        train.target_lengths,
        batch_size=optimization.train_batch_size,
        accumulation=optimization.gradient_accumulation_steps,
        seed=optimization.seed,
        group_by_length=optimization.sortish_sampler,
        processes=world.processes,
        rank=world.rank,
        max_tokens=optimization.max_tokens_per_batch,
        multiples=multiples,
    )
    total_steps = optimization.max_steps
    if optimization.max_epochs >= 0:
        total_steps = min(total_steps, optimization.max_epochs * sampler.steps_per_epoch)
    if optimization.lr_scheduler != "constant" and optimization.warmup_steps >= total_steps:
        raise InputError(f"--warmup_steps {optimization.warmup_steps}: must be below the run's {total_steps} steps")
    datasets = (
        BatchDataset(examples, inputs.tokenizer.pad_token_id, inputs.config.max_position_embeddings)
        for examples in (train, val)
    )
    return TokenizedData(*datasets, val_references, prepared, sampler, total_steps)


def prepare_test(settings: DataSettings, inputs: RawTexts) -> PreparedPairs | None:
    """Prepare the tokens of the test split, for the report on the data; None if no pair of it has both texts."""
    if inputs.test_files is None or next(complete_pairs(inputs.test_files), None) is None:
        return None
    examples = settings.n_test or -1  # with 0 it is evaluated by a later command, if at all
    limits = TokenLimits(inputs.config.prefix, settings.max_source_length, settings.max_target_length, examples)
    return prepare_pairs(inputs.test_files, inputs.tokenizer, limits)


_TokenizedTexts = tuple[Examples, Examples, list[str], dict[str, PreparedPairs]]


def _tokenize_pairs(settings: DataSettings, inputs: RawTexts) -> _TokenizedTexts:
    """Prepare training and validation examples; also return the target texts of validation, and the prepared pairs."""
    prefix, source_length = inputs.config.prefix, settings.max_source_length
    train_limits = TokenLimits(prefix, source_length, settings.max_target_length, settings.n_train)
    val_limits = TokenLimits(prefix, source_length, settings.val_max_target_length, settings.n_val)
    train = prepare_pairs(inputs.train, inputs.tokenizer, train_limits)
    val = prepare_pairs(inputs.val, inputs.tokenizer, val_limits)
    examples = (_pair_examples(files, pairs, inputs) for files, pairs in ((inputs.train, train), (inputs.val, val)))
    return *examples, _references(inputs.val, val), {"train": train, "val": val}


def _tokenize_documents(settings: DataSettings, seed: int, inputs: RawTexts) -> _TokenizedTexts:
    """Prepare examples of documents to restore. The noise of a validation example is the same in every validation."""
    prefix, tokenizer, length = inputs.config.prefix, inputs.tokenizer, settings.max_source_length
    noise_settings = NoiseSettings(
        settings.mask_ratio, settings.poisson_lambda, settings.mask_random, settings.permute_sentences
    )
    noise = Noise(tokenizer, noise_settings, seed)
    train_blocks, val_blocks = (
        prepare_blocks(file, tokenizer, BlockLimits(prefix, length, blocks))
        for file, blocks in ((inputs.train, settings.n_train), (inputs.val, settings.n_val))
    )
    train: Examples = DenoisingExamples(train_blocks.texts, noise, Origin(inputs.train.path, train_blocks.lines))
    if inputs.pairs is not None:
        pairs = prepare_pairs(inputs.pairs, tokenizer, TokenLimits(prefix, length, settings.max_target_length))
        train = JoinedExamples(train, _pair_examples(inputs.pairs, pairs, inputs))
    val = DenoisingExamples(val_blocks.texts, noise, Origin(inputs.val.path, val_blocks.lines))
    texts = [val_blocks.texts[row] for row in range(len(val_blocks.texts))]
    return train, val, tokenizer.batch_decode(texts, skip_special_tokens=True), {}


def _pair_examples(files: SplitFiles, prepared: PreparedPairs, inputs: RawTexts) -> PairExamples:
    vocabulary = smaller_vocabulary(inputs.tokenizer, inputs.config)
    sources, targets = (store.read_by(vocabulary) for store in (prepared.sources, prepared.targets))
    if files.rows is None:
        return PairExamples(sources, targets, Origin(files.source.path, prepared.lines))
    return PairExamples(sources, targets, Origin(files.rows.path, files.rows.numbers[prepared.lines]))


def _check_each_fits(max_tokens: int, examples: Examples, multiples: tuple[int, int]) -> None:
    tokens = padded_shapes(examples.source_lengths, examples.target_lengths, multiples).sum(axis=0)
    most = int(tokens.argmax())
    if tokens[most] > max_tokens:
        raise InputError(
            f"--max_tokens_per_batch {max_tokens}: {examples.origin(most)}, has {tokens[most]} tokens with its target"
            " and padding; give at least that, or lower --max_source_length"
        )


def _references(files: SplitFiles, prepared: PreparedPairs) -> list[str]:
    """Read the target texts of the prepared pairs. Raises InputError if the file has changed since."""
    kept = set(prepared.lines.tolist())
    references = [line for number, line in enumerate(iterate_lines(files.target.path)) if number in kept]
    files.target.check_unchanged()
    return references


def _with_dropouts(config: BartConfig, model: ModelSettings) -> BartConfig:
    given = {"dropout": model.dropout, "attention_dropout": model.attention_dropout}
    return config.copy(**{name: value for name, value in given.items() if value is not None})
