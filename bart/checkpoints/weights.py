"""Read and write a model's weights: Hugging Face folders and hub ids, this project's .ckpt, fairseq's model.pt.

Files are read by way of ``bart.checkpoints.safe_load`` alone: the worst that a hostile one can do is fail to load.
"""

import logging
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bart.atomic_directory import new_file_mode
from bart.checkpoints.adapters import merge_adapters
from bart.checkpoints.checksummed_file import matches_checksum
from bart.checkpoints.fairseq import SUFFIX, fairseq_config, fairseq_weights, read_fairseq
from bart.checkpoints.safe_load import (
    OWN_MOST_BYTES,
    first_line,
    load_safetensors,
    load_weights_only,
    plain_settings,
    plain_tensors,
)
from bart.checkpoints.shard_index import read_shard_names
from bart.checkpoints.state_dict import SHAPE, TIED_TO_EMBEDDINGS, match_state_dict
from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.hub import find_file

_POSITIONS = "max_position_embeddings"
_LAYERS = ("encoder_layers", "decoder_layers")
_OWN_SIZES = (_POSITIONS, *_LAYERS)  # may differ between models that share a configuration file
_CHECKPOINT_PREFIX = "model."  # the Lightning module holds the model as its attribute `model`

_log = logging.getLogger(__name__)


def is_checkpoint(name_or_path: str | os.PathLike[str]) -> bool:
    """Return whether this names a file: a .ckpt of this project or a .pt of fairseq, not a folder, not a hub id."""
    return Path(name_or_path).is_file()


def is_fairseq(name_or_path: str | os.PathLike[str]) -> bool:
    """Return whether this names a .pt file, which is assumed to be fairseq's."""
    return is_checkpoint(name_or_path) and Path(name_or_path).suffix == SUFFIX


class StoredModel:
    """A stored model, of which a file (.ckpt or .pt) is read once for both its configuration and its weights."""

    def __init__(self, name_or_path: str | os.PathLike[str]) -> None:
        """Name a folder, hub id, .ckpt or .pt; nothing is read yet."""
        self.name_or_path = name_or_path

    @cached_property
    def _content(self) -> Any:
        """The content of a .ckpt or .pt; its tensors may be mapped to the file."""
        path = Path(self.name_or_path)
        if is_fairseq(path):
            return read_fairseq(path)
        content = load_weights_only(path, most_bytes=OWN_MOST_BYTES)
        if not isinstance(content, dict):
            raise InputError(f"{path}: not a checkpoint of this project; give another file")
        return content

    def config(self) -> BartConfig:
        """Return the configuration that is stored with the model.

        Raises:
            InputError: there is no configuration, or it cannot be read.
        """
        if not is_checkpoint(self.name_or_path):
            return BartConfig.from_pretrained(self.name_or_path)
        path = Path(self.name_or_path)
        if is_fairseq(path):
            return fairseq_config(self._content, path)
        parameters = self._content.get("hyper_parameters")
        values = plain_settings(parameters.get("config") if isinstance(parameters, dict) else None, path)
        try:
            return BartConfig(**values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def config_for(self, config: BartConfig, own_sizes: bool = False, more_positions: bool = False) -> BartConfig:
        """Return ``config`` with the vocabulary size of the stored model, if that has a configuration.

        Args:
            config: the configuration to use for this model.
            own_sizes: take the stored numbers of layers and of positions, too, with a warning if they differ: a student
                has fewer layers than the model that it was made from, and a model of long documents has more positions.
            more_positions: let the configuration have another number of positions.

        Raises:
            InputError: the stored configuration differs in any other part of the model's shape.
        """
        name = self.name_or_path
        try:
            stored = self.config()
        except InputError:
            return config
        may_differ = _OWN_SIZES if own_sizes else (_POSITIONS,) if more_positions else ()
        differing = _differing([field for field in SHAPE if field not in may_differ], stored, config)
        if differing:
            found = f"{os.fspath(name)}: the model has {differing}"
            raise InputError(f"{found}; give the configuration that belongs to it")
        if own_sizes:
            config = _with_sizes_of(name, stored, config)
        if stored.vocab_size == config.vocab_size:
            return config
        say_vocabulary(name, stored, config)
        return config.copy(vocab_size=stored.vocab_size)

    def weights(
        self, expected: dict[str, Tensor], more_positions: bool = False, allow_non_finite: bool = False
    ) -> dict[str, Tensor]:
        """Read the weights.

        Args:
            expected: the state dict of the model that they are for; only its names and shapes count.
            more_positions: repeat the stored positions if the model has more.
            allow_non_finite: take weights that are NaN or infinite.

        Returns:
            A state dict with these names and shapes, in float32.

        Raises:
            InputError: the weights cannot be read, do not fit, or are no finite floating-point numbers.
        """
        name = self.name_or_path
        if is_fairseq(name):
            stored = fairseq_weights(self._content, Path(name))
        elif is_checkpoint(name):
            stored = self._checkpoint_weights()
        else:
            stored = _hugging_face_weights(name)
        return match_state_dict(stored, expected, os.fspath(name), more_positions, allow_non_finite)

    def _checkpoint_weights(self) -> dict[str, Tensor]:
        """Return the model's tensors in a checkpoint of this project, after its checksum, with adapters merged."""
        path = Path(self.name_or_path)
        if matches_checksum(path) is False:
            raise InputError(f"{path}: is damaged: its content does not match its checksum; give another checkpoint")
        stored = plain_tensors(self._content.get("state_dict"), path)
        weights = {
            name.removeprefix(_CHECKPOINT_PREFIX): tensor
            for name, tensor in stored.items()
            if name.startswith(_CHECKPOINT_PREFIX)
        }
        if not weights:
            raise InputError(f"{path}: holds no weights of a model; is it a checkpoint of this project?")
        return merge_adapters(weights, os.fspath(path))


def read_config(name_or_path: str | os.PathLike[str]) -> BartConfig:
    """Read the configuration that is stored with a model: a folder, hub id, .ckpt or .pt. Raises InputError."""
    return StoredModel(name_or_path).config()


def say_vocabulary(name_or_path: str | os.PathLike[str], stored: BartConfig, given: BartConfig) -> None:
    """Log a warning if the stored model has another vocabulary size than the given configuration."""
    if stored.vocab_size != given.vocab_size:
        _log.warning(
            "%s: the model has %s tokens, the configuration says %s: the model's own number counts",
            *(os.fspath(name_or_path), f"{stored.vocab_size:,}", f"{given.vocab_size:,}"),
        )


def _with_sizes_of(name_or_path: str | os.PathLike[str], stored: BartConfig, given: BartConfig) -> BartConfig:
    """Return ``given`` with the stored numbers of layers and of positions; log a warning if they differ."""
    differing = _differing(_OWN_SIZES, stored, given)
    if not differing:
        return given
    _log.warning("%s: the model has %s: the model's own numbers count", os.fspath(name_or_path), differing)
    return given.copy(**{name: getattr(stored, name) for name in _OWN_SIZES})


def _differing(names: Iterable[str], stored: BartConfig, given: BartConfig) -> str:
    """List the fields in which two configurations differ, with both values; empty if they do not."""
    values = [(name, getattr(stored, name), getattr(given, name)) for name in names]
    return ", ".join(f"{name} {own} (given: {other})" for name, own, other in values if own != other)


def write_weights(state_dict: dict[str, Tensor], folder: str | os.PathLike[str]) -> None:
    """Write model.safetensors into ``folder``, with tied tensors once. Raises OSError."""
    tensors = {name: tensor for name, tensor in state_dict.items() if name not in TIED_TO_EMBEDDINGS}
    write_tensors(tensors, Path(folder) / "model.safetensors")


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a file of safetensors. Raises OSError."""
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})
    except SafetensorError as error:  # also if the disk is full
        raise OSError(f"{path.name}: {first_line(error)}") from error
    path.chmod(new_file_mode())  # safetensors makes it readable for its owner only


def _hugging_face_weights(name_or_path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read all tensors of a folder or hub id, from one file or from shards; safetensors is preferred to .bin."""
    for filename in ("model.safetensors", "pytorch_model.bin"):
        path = find_file(name_or_path, filename)
        if path is not None:
            return _read_tensors(path)
        index_path = find_file(name_or_path, f"{filename}.index.json")
        if index_path is not None:
            return _read_shards(name_or_path, index_path)
    raise InputError(
        f"{os.fspath(name_or_path)}: neither model.safetensors nor pytorch_model.bin there; give a folder with a model"
    )


def _read_shards(name_or_path: str | os.PathLike[str], index_path: Path) -> dict[str, Tensor]:
    """Read all tensors of the files that an index of shards names."""
    tensors: dict[str, Tensor] = {}
    for filename in read_shard_names(index_path):
        path = find_file(name_or_path, filename)
        if path is None:
            raise InputError(f"{index_path}: names {filename}, which is not there; fetch the missing file")
        tensors.update(_read_tensors(path))
    return tensors


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of one file."""
    if path.suffix == ".safetensors":
        return load_safetensors(path)
    return plain_tensors(load_weights_only(path), path)
