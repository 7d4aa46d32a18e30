"""All that a training reads beside the weights: first what is cheap to refuse, then the tokens."""

from dataclasses import dataclass
from pathlib import Path

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from utils.args import TrainingArguments
from utils.batching import TrainingOrder
from utils.checkpointing import stored_arguments
from utils.data import PairDataset
from utils.distributed import Placement
from utils.line_files import iterate_lines
from utils.loading import load_config, load_tokenizer
from utils.pairs import Pairs, SplitFiles, complete_pairs, read_pairs, scan_split
from utils.prepared_files import PreparedPairs, TokenLimits
from utils.prepared_tokens import prepare


@dataclass
class TrainingInputs:
    """Texts and how to read them."""

    train: SplitFiles
    val: SplitFiles
    test: Pairs | None  # only where it is evaluated
    test_files: SplitFiles | None  # where there are any
    config: BartConfig
    tokenizer: BartTokenizer


@dataclass
class TrainingData:
    """Tokens and the order in which they are learnt."""

    train: PairDataset
    val: PairDataset
    val_references: list[str]  # the target texts of val
    prepared: dict[str, PreparedPairs]  # train and val: the same tokens, and facts about the texts
    order: TrainingOrder
    total_steps: int  # optimizer steps of the whole run


def read_inputs(arguments: TrainingArguments, checkpoint: Path | None) -> TrainingInputs:
    """Read texts, configuration and tokenizer, the latter two from the ``checkpoint`` of a run that is resumed.

    Completes the lengths in ``arguments`` that are the configuration's by default. Raises InputError.
    """
    train, val = (scan_split(arguments.data_dir, split) for split in ("train", "val"))
    test = read_pairs(arguments.data_dir, "test", arguments.n_test) if arguments.n_test != 0 else None
    test_files = None
    if (Path(arguments.data_dir) / "test.source").exists():
        # Also where nothing is evaluated here: an evaluation that follows must not be the first to find a fault.
        test_files = scan_split(arguments.data_dir, "test")
    if checkpoint is None:
        model = arguments.model_name_or_path
        config = _with_dropouts(load_config(arguments.config_path, model), arguments)
        tokenizer = load_tokenizer(arguments.tokenizer_name_or_path, model, config)
    else:
        config = load_config(None, str(checkpoint))
        tokenizer = load_tokenizer(None, str(checkpoint), config)
    arguments.take_lengths_from(config)
    if checkpoint is not None:
        _check_unchanged(arguments, checkpoint)
    return TrainingInputs(train, val, test, test_files, config, tokenizer)


def tokenize_inputs(arguments: TrainingArguments, inputs: TrainingInputs, placement: Placement) -> TrainingData:
    """Find or compute the tokens, and lay out the run. Raises InputError where the warm-up is as long as the run."""
    prefix, source_length = inputs.config.prefix, arguments.max_source_length
    train_limits = TokenLimits(prefix, source_length, arguments.max_target_length, arguments.n_train)
    val_limits = TokenLimits(prefix, source_length, arguments.val_max_target_length, arguments.n_val)
    prepared_train = prepare(inputs.train, inputs.tokenizer, train_limits)
    prepared_val = prepare(inputs.val, inputs.tokenizer, val_limits)
    train, val = (_dataset(prepared, inputs) for prepared in (prepared_train, prepared_val))
    order = TrainingOrder(
        train.sources.lengths,
        train.targets.lengths,
        batch_size=arguments.train_batch_size,
        accumulation=arguments.gradient_accumulation_steps,
        seed=arguments.seed,
        group_by_length=arguments.sortish_sampler,
        processes=placement.processes,
        rank=placement.rank,
    )
    total_steps = arguments.max_steps
    if arguments.max_epochs >= 0:
        total_steps = min(total_steps, arguments.max_epochs * order.steps_per_epoch)
    if arguments.lr_scheduler != "constant" and arguments.warmup_steps >= total_steps:
        raise InputError(f"--warmup_steps {arguments.warmup_steps}: must be below the run's {total_steps} steps")
    prepared = {"train": prepared_train, "val": prepared_val}
    return TrainingData(train, val, _references(inputs.val, prepared_val), prepared, order, total_steps)


def prepare_test(arguments: TrainingArguments, inputs: TrainingInputs) -> PreparedPairs | None:
    """The tokens of the test split, for the report on the data; None where no pair of it has both texts."""
    if inputs.test_files is None or next(complete_pairs(inputs.test_files), None) is None:
        return None
    examples = arguments.n_test or -1  # with 0 it is evaluated by a later command, if at all
    limits = TokenLimits(inputs.config.prefix, arguments.max_source_length, arguments.max_target_length, examples)
    return prepare(inputs.test_files, inputs.tokenizer, limits)


def _dataset(prepared: PreparedPairs, inputs: TrainingInputs) -> PairDataset:
    pad_token_id, positions = inputs.tokenizer.pad_token_id, inputs.config.max_position_embeddings
    return PairDataset(prepared.sources, prepared.targets, pad_token_id, positions)


def _references(files: SplitFiles, prepared: PreparedPairs) -> list[str]:
    """The target texts of the prepared pairs. Raises InputError where the file is no longer what was prepared."""
    kept = set(prepared.lines.tolist())
    references = [line for number, line in enumerate(iterate_lines(files.target.path)) if number in kept]
    files.target.check_unchanged()
    return references


def _with_dropouts(config: BartConfig, arguments: TrainingArguments) -> BartConfig:
    given = {"dropout": arguments.dropout, "attention_dropout": arguments.attention_dropout}
    return config.copy(**{name: value for name, value in given.items() if value is not None})


def _check_unchanged(arguments: TrainingArguments, checkpoint: Path) -> None:
    """Raise InputError where a flag is not the interrupted run's and the steps already done depend on it."""
    stored = stored_arguments(checkpoint)
    for flag in arguments.fixed_on_resume():
        before, now = stored[flag], getattr(arguments, flag)
        if before != now:
            raise InputError(f"--resume: --{flag} was {before} and is now {now}; it cannot change within a run")
