"""All that a training reads beside the weights: first what is cheap to refuse, then the tokens."""

from dataclasses import dataclass
from pathlib import Path

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from utils.args import TrainingArguments
from utils.batching import TrainingOrder
from utils.checkpointing import stored_arguments
from utils.data import PairDataset, Pairs, encode_pairs, read_pairs
from utils.distributed import Placement
from utils.loading import load_config, load_tokenizer


@dataclass
class TrainingInputs:
    """Texts and how to read them."""

    pairs: dict[str, Pairs]  # by split; test only where it is evaluated
    config: BartConfig
    tokenizer: BartTokenizer


@dataclass
class TrainingData:
    """Tokens and the order in which they are learnt."""

    train: PairDataset
    val: PairDataset
    order: TrainingOrder
    total_steps: int  # optimizer steps of the whole run


def read_inputs(arguments: TrainingArguments, checkpoint: Path | None) -> TrainingInputs:
    """Read texts, configuration and tokenizer, the latter two from the ``checkpoint`` of a run that is resumed.

    Completes the lengths in ``arguments`` that are the configuration's by default. Raises InputError.
    """
    limits = {"train": arguments.n_train, "val": arguments.n_val, "test": arguments.n_test}
    pairs = {split: read_pairs(arguments.data_dir, split, limit) for split, limit in limits.items() if limit != 0}
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
    return TrainingInputs(pairs, config, tokenizer)


def tokenize_inputs(arguments: TrainingArguments, inputs: TrainingInputs, placement: Placement) -> TrainingData:
    """Tokenize, and lay out the run. Raises InputError where the warm-up is as long as the run."""
    train, val = (
        encode_pairs(
            inputs.pairs[split],
            inputs.tokenizer,
            inputs.config.prefix,
            arguments.max_source_length,
            max_target_length,
            inputs.config.max_position_embeddings,
        )
        for split, max_target_length in (
            ("train", arguments.max_target_length),
            ("val", arguments.val_max_target_length),
        )
    )
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
    return TrainingData(train, val, order, total_steps)


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
