"""BART's encoder-decoder (Lewis et al. 2019, https://arxiv.org/abs/1910.13461, section 2.1).

Parameters have the names of Hugging Face's files, so that state dicts need no conversion.

Shapes: B sentences, K beams (1 in training), S source length, T target length, D model, V vocabulary; N target tokens
without padding, M source tokens likewise.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bart.checkpoints.more_positions import with_positions
from bart.checkpoints.weights import StoredModel, write_weights
from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError
from bart.generation.generate import generate
from bart.generation.output import GenerationOutput
from bart.modeling.layers.aligned_vocabulary import AlignedOutput
from bart.modeling.layers.attention import MultiHeadAttention, cast_for_kernels, padding_mask
from bart.modeling.layers.dropout import Dropout
from bart.modeling.layers.fused_cross_entropy import cross_entropy_and_predictions, fused_cross_entropy
from bart.modeling.layers.fused_r_drop import fused_r_drop
from bart.modeling.layers.kv_cache import DecoderCache, DecodeStep, LayerCache
from bart.modeling.layers.prepacked_linear import Quantization, prepack_linear, prepack_linears
from bart.modeling.layers.token_embedding import TokenEmbedding
from bart.modeling.layers.transformer import DecoderLayer, EncoderLayer, LearnedPositions
from bart.modeling.layers.unpadding import Unpadding
from bart.modeling.skip_initialization import SkipInitialization

_JOINT_ON = {"cuda"}  # devices on which one product for queries, keys and values is faster than three
IGNORE_INDEX = -100  # the label of tokens, such as padding, that do not count; the default of F.cross_entropy


class BartStack(nn.Module):
    """The common part of encoder and decoder: embeddings, layers, and the ways to run these in training."""

    def __init__(
        self, config: BartConfig, embed_tokens: TokenEmbedding, layers: Iterable[nn.Module], layerdrop: float
    ) -> None:
        """Make the embeddings, then the layers.

        Args:
            config: the model's configuration.
            embed_tokens: the table that encoder and decoder share.
            layers: an iterator that makes the layers, so that random weights are drawn in the order of this code.
            layerdrop: probability with which training leaves a layer out.
        """
        super().__init__()
        self.embed_tokens = embed_tokens
        self.embed_positions = LearnedPositions(config.max_position_embeddings, config.d_model)
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.layernorm_embedding = nn.LayerNorm(config.d_model)
        self.layers = nn.ModuleList(layers)
        self.dropout = Dropout(config.dropout)
        self.layerdrop = layerdrop
        self.gradient_checkpointing = self.compiled = False  # set by methods of the model

    def embed(self, input_ids: Tensor, start: int | Tensor = 0, unpadding: Unpadding | None = None) -> Tensor:
        """Embed tokens (B, L) at the positions from ``start`` on: (B, L, D), or with ``unpadding`` (N, D).

        If ``start`` is a tensor (1,), L is 1.
        """
        positions = self.embed_positions(input_ids.size(1), start)  # (L, D)
        if unpadding is not None:
            input_ids = input_ids.flatten().index_select(0, unpadding.indices)
            positions = F.embedding(unpadding.positions(), positions)
        embedded = self.embed_tokens(input_ids) * self.embed_scale + positions
        states: Tensor = self.dropout(self.layernorm_embedding(embedded))
        return states if self.compiled else cast_for_kernels(states)

    def active_layers(self) -> Iterator[nn.Module]:
        """Yield the layers to run; training leaves each out with probability ``layerdrop``.

        One random number is drawn before each layer, but none if ``layerdrop`` is 0.
        """
        for layer in self.layers:
            is_dropped = self.training and self.layerdrop > 0 and float(torch.rand(())) < self.layerdrop
            if not is_dropped:
                yield layer

    def run_layer(self, layer: nn.Module, *inputs: Any) -> Tensor:
        """Run one layer: in training with gradient checkpointing, or compiled, if these are enabled."""
        output: Tensor
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            output = checkpoint(layer, *inputs, use_reentrant=False)
        elif self.compiled and not self.training:
            output = layer.forward(*inputs)  # not compiled
        else:
            output = layer(*inputs)
        return output


class BartEncoder(BartStack):
    """Token and position embeddings, then bidirectional layers."""

    def __init__(self, config: BartConfig, embed_tokens: TokenEmbedding) -> None:
        """Make the encoder on the given table of token embeddings."""
        layers = (EncoderLayer(config) for _ in range(config.encoder_layers))
        super().__init__(config, embed_tokens, layers, config.encoder_layerdrop)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, unpadding: Unpadding | None = None
    ) -> Tensor:
        """Encode source tokens.

        Args:
            input_ids: (B, S).
            attention_mask: (B, S), 0 for padding; None: nothing is padded.
            unpadding: the tokens that are not padding, to compute only those.

        Returns:
            states (B, S, D), or with ``unpadding`` (M, D)

        Raises:
            InputError: S exceeds the model's positions.
        """
        states = self.embed(input_ids, unpadding=unpadding)
        mask = padding_mask(attention_mask)
        for layer in self.active_layers():
            states = self.run_layer(layer, states, mask, unpadding)
        return states


class BartDecoder(BartStack):
    """Token and position embeddings, then causal layers that also attend to the encoder's states."""

    def __init__(self, config: BartConfig, embed_tokens: TokenEmbedding) -> None:
        """Make the decoder on the given table of token embeddings."""
        layers = (DecoderLayer(config) for _ in range(config.decoder_layers))
        super().__init__(config, embed_tokens, layers, config.decoder_layerdrop)

    def forward(
        self,
        input_ids: Tensor,
        encoder_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        cache: DecoderCache | None = None,
        unpadding: Unpadding | None = None,
        encoder_unpadding: Unpadding | None = None,
    ) -> Tensor:
        """Decode all target tokens at once or, with a cache, the tokens that follow those in it.

        Args:
            input_ids: (B*K, T).
            encoder_states: (B, S, D), or with ``encoder_unpadding`` (M, D); needed only without a cache.
            encoder_attention_mask: (B, S), 0 for padding; None: nothing is padded.
            cache: from ``new_cache``; the new tokens are added to it.
            unpadding: the target tokens that are not padding, to compute only those; without a cache.
            encoder_unpadding: the source tokens that are not padding, likewise.

        Returns:
            states (B*K, T, D), or with ``unpadding`` (N, D)

        Raises:
            InputError: an output exceeds the model's positions.
        """
        states = self.embed(input_ids, 0 if cache is None else cache.length, unpadding)
        mask = padding_mask(encoder_attention_mask)
        if cache is not None:
            return self.decode_next(states, mask, cache, cache.advance(input_ids.size(1)))
        for layer in self.active_layers():
            states = self.run_layer(layer, states, encoder_states, mask, None, None, unpadding, encoder_unpadding)
        return states

    def decode_next(self, states: Tensor, encoder_mask: Tensor | None, cache: DecoderCache, step: DecodeStep) -> Tensor:
        """Decode the embeddings of the next tokens (B*K, T, D), of which either K or T is 1: (B*K, T, D).

        Args:
            states: from ``embed``.
            encoder_mask: bool, broadcastable to (B, H, T, S), true if a source token may be seen; None: all are seen.
            cache: from ``new_cache``.
            step: from ``cache.advance``.
        """
        together = states.reshape(-1, cache.beams * states.size(1), states.size(2))  # (B, K*T, D)
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            together = self.run_layer(layer, together, None, encoder_mask, layer_cache, step)
        return together.view_as(states)

    def new_cache(self, encoder_states: Tensor, beams: int, max_length: int) -> DecoderCache:
        """Make an empty cache.

        Args:
            encoder_states: (B, S, D).
            beams: sequences of each sentence.
            max_length: tokens of each sequence.
        """
        caches = [
            LayerCache(keys.contiguous(), values.contiguous(), beams, max_length)
            for keys, values in self._project_sources(encoder_states)
        ]
        return DecoderCache(caches, beams, max_length)

    def reset_cache(self, cache: DecoderCache, encoder_states: Tensor) -> None:
        """Empty a cache of ``new_cache``, for other sources of the same shape (B, S, D)."""
        cache.reset(self._project_sources(encoder_states))

    def _project_sources(self, encoder_states: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each layer's keys and values of the sources, (B, H, S, Dh)."""
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            yield layer.encoder_attn.project_keys_values(encoder_states)


class BartModel(nn.Module):
    """The encoder and the decoder, with one table of token embeddings."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.shared = TokenEmbedding(config.vocab_size, config.d_model, config.pad_token_id)
        self.encoder = BartEncoder(config, self.shared)
        self.decoder = BartDecoder(config, self.shared)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, decoder_input_ids: Tensor) -> Tensor:
        """Return the decoder's states (B, T, D), given tokens and mask (B, S) of the sources and the targets (B, T)."""
        encoder_states = self.encoder(input_ids, attention_mask)
        states: Tensor = self.decoder(decoder_input_ids, encoder_states, attention_mask)
        return states


@dataclass
class Seq2SeqOutput:
    """The result of a forward pass. It can be indexed as in transformers: the loss comes first, if there is one."""

    logits: Tensor  # (B, T, V)
    loss: Tensor | None = None  # scalar in nats, mean over the labels that count

    def __getitem__(self, index: int) -> Tensor:
        """Return the loss or the logits."""
        given = [self.logits] if self.loss is None else [self.loss, self.logits]
        return given[index]


class BartForConditionalGeneration(nn.Module):
    """BART with an output layer tied to the token embeddings: the model that is fine-tuned for summarization."""

    final_logits_bias: Tensor  # (1, V)

    def __init__(self, config: BartConfig) -> None:
        """Make a model with random weights: normal with ``config.init_std``, from torch's global generator."""
        super().__init__()
        self.config = config
        self.model = BartModel(config)
        self.register_buffer("final_logits_bias", torch.zeros(1, config.vocab_size))
        self.prepacked_output: nn.Module | None = None  # set by prepack()
        self.model.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Draw the weights of a linear layer or a table of embeddings."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.init_std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Seq2SeqOutput:
        """Compute teacher-forced logits and, if there are labels, their cross entropy.

        Args:
            input_ids: (B, S).
            attention_mask: (B, S), 0 for padding; None: nothing is padded.
            decoder_input_ids: (B, T); None: the labels shifted right or, without labels, ``input_ids`` shifted right,
                with which the model fills masks.
            labels: (B, T), -100 for those that do not count.

        Returns:
            logits (B, T, V) and, if there are labels, the mean loss in nats

        Raises:
            InputError: a sequence exceeds the model's positions.
        """
        if decoder_input_ids is None:
            decoder_input_ids = shift_tokens_right(
                input_ids if labels is None else labels, self.config.pad_token_id, self.config.decoder_start_token_id
            )
        logits = self.project_to_vocabulary(self.model(input_ids, attention_mask, decoder_input_ids))
        if labels is None:
            return Seq2SeqOutput(logits)
        return Seq2SeqOutput(
            logits, F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX)
        )

    def project_to_vocabulary(self, states: Tensor) -> Tensor:
        """Project decoder states to logits: (..., D) to (..., V)."""
        if self.prepacked_output is None:
            return F.linear(states, self.model.shared.weight) + self.final_logits_bias
        logits: Tensor = self.prepacked_output(states)
        return logits

    def generate(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **search: Any
    ) -> Tensor | GenerationOutput:
        """Search for outputs; ``bart.generation.generate.generate`` describes arguments and result."""
        return generate(self, input_ids, attention_mask, **search)

    def loss_sum(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        labels: Tensor,
        label_smoothing: float = 0.0,
        target_indices: Tensor | None = None,
    ) -> Tensor:
        """Sum the cross entropy, in nats, over the labels that count. Training uses it: it never stores all logits.

        Args:
            input_ids: (B, S).
            attention_mask: (B, S), 0 for padding; None: nothing is padded, and attention is faster.
            labels: (B, T), -100 for those that do not count, usually the padding behind a target.
            label_smoothing: probability taken from the label and spread over the vocabulary.
            target_indices: (N,), indices of the labels that count in the flattened ``labels``. None: they are searched
                for, and the host waits for the GPU.

        Returns:
            a scalar

        Raises:
            InputError: a sequence exceeds the model's positions.
        """
        with self.model.shared.tied_gradients():
            states, targets = self._target_states(input_ids, attention_mask, labels, target_indices)
            table = self.model.shared.table
        return fused_cross_entropy(states, table, self.final_logits_bias[0], targets, label_smoothing)

    def r_drop_loss_sum(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        labels: Tensor,
        alpha: float,
        label_smoothing: float = 0.0,
        target_indices: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sum the loss of R-Drop (``fused_r_drop``), in nats, over the labels that count, instead of ``loss_sum``.

        One pass of twice the batch predicts every target twice, with different dropout. Two passes would keep as much
        for the backward pass, as the divergence depends on both, and their matrix products would be half as large.

        Args:
            input_ids: (B, S).
            attention_mask: (B, S), 0 for padding; None: nothing is padded, and attention is faster.
            labels: (B, T), -100 for those that do not count.
            alpha: the weight of the divergence.
            label_smoothing: probability taken from the label and spread over the vocabulary.
            target_indices: as ``loss_sum`` takes them.

        Returns:
            the loss; without gradients the mean of both cross entropies, and the divergence: three scalars

        Raises:
            InputError: a sequence exceeds the model's positions.
        """
        if target_indices is None:
            target_indices = find_target_indices(labels)
        twice = torch.cat([target_indices, target_indices + labels.numel()])
        mask = None if attention_mask is None else attention_mask.repeat(2, 1)
        with self.model.shared.tied_gradients():
            states, targets = self._target_states(input_ids.repeat(2, 1), mask, labels.repeat(2, 1), twice)
            table = self.model.shared.table
        states, targets = states.view(2, -1, states.size(-1)), targets[: len(target_indices)]
        return fused_r_drop(states, table, self.final_logits_bias[0], targets, label_smoothing, alpha)

    def score_targets(
        self, input_ids: Tensor, attention_mask: Tensor | None, labels: Tensor, target_indices: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum the cross entropy and predict each target token from those before it, without gradients, for validation.

        Args:
            input_ids: (B, S).
            attention_mask: (B, S), 0 for padding; None: nothing is padded.
            labels: (B, T), -100 for those that do not count.
            target_indices: (N,), indices of the labels that count in the flattened ``labels``.

        Returns:
            the sum, a scalar in nats, and the likeliest tokens (N,)

        Raises:
            InputError: a sequence exceeds the model's positions.
        """
        states, targets = self._target_states(input_ids, attention_mask, labels, target_indices)
        return cross_entropy_and_predictions(states, self.model.shared.weight, self.final_logits_bias[0], targets)

    def _target_states(
        self, input_ids: Tensor, attention_mask: Tensor | None, labels: Tensor, target_indices: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the decoder's states (N, D) at the target tokens, and their labels (N,)."""
        decoder_input_ids = shift_tokens_right(labels, self.config.pad_token_id, self.config.decoder_start_token_id)
        if target_indices is None:
            target_indices = find_target_indices(labels)
        targets = labels.flatten().index_select(0, target_indices)
        if not self._suits_unpadding(labels, target_indices):
            states = self.model(input_ids, attention_mask, decoder_input_ids)  # (B, T, D)
            return states.flatten(0, 1).index_select(0, target_indices), targets
        return self._unpadded_states(input_ids, attention_mask, decoder_input_ids, target_indices), targets

    def _unpadded_states(
        self, input_ids: Tensor, attention_mask: Tensor | None, decoder_input_ids: Tensor, target_indices: Tensor
    ) -> Tensor:
        """Compute the decoder's states of the targets (N, D), and nothing for padding."""
        unpadding = encoder_unpadding = None
        if len(target_indices) < decoder_input_ids.numel():
            unpadding = Unpadding(target_indices, decoder_input_ids.shape)
        if attention_mask is not None:
            encoder_unpadding = Unpadding(attention_mask.flatten().nonzero().squeeze(1), attention_mask.shape)
        encoder_states = self.model.encoder(input_ids, attention_mask, encoder_unpadding)
        states: Tensor = self.model.decoder(
            decoder_input_ids, encoder_states, attention_mask, unpadding=unpadding, encoder_unpadding=encoder_unpadding
        )
        return states.flatten(0, -2)

    def _suits_unpadding(self, labels: Tensor, target_indices: Tensor) -> bool:
        """Return whether to leave padding out: only on a CPU, and only if all padding is behind the targets.

        On a GPU moving the tokens costs as much as it saves, compiled layers need few shapes, and a label that does not
        count still is an input of the targets behind it.
        """
        if labels.device.type != "cpu" or self.model.encoder.compiled or len(target_indices) == 0:
            return False
        is_target = labels != IGNORE_INDEX
        return bool((is_target[:, 1:] <= is_target[:, :-1]).all())

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        config: BartConfig | None = None,
        max_positions: int | None = None,
        allow_non_finite: bool = False,
    ) -> Self:
        """Load a model, in evaluation mode and float32.

        Args:
            name_or_path: a Hugging Face folder or hub id, a .ckpt of this project, or a model.pt of fairseq.
            config: used instead of the stored configuration, except for the vocabulary size; its shape must be that of
                the weights.
            max_positions: the positions that the model is to have, at least as many as are stored: these are repeated,
                and the model must be trained before it is of use. None: those of the configuration.
            allow_non_finite: take weights that are NaN or infinite.

        Raises:
            InputError: there is no usable model, or tensors are missing, unexpected, of another shape, or no finite
                floating-point numbers.
        """
        more = max_positions is not None
        stored = StoredModel(name_or_path)
        config = stored.config() if config is None else stored.config_for(config, more_positions=more)
        if max_positions is not None:
            config = with_positions(config, max_positions)
        with torch.device("meta"), SkipInitialization():
            model = cls(config)
        weights = stored.weights(model.state_dict(), more, allow_non_finite)
        model.load_state_dict(weights, assign=True)
        return model.eval()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json, generation_config.json and model.safetensors, in transformers' format. Raises OSError."""
        os.makedirs(folder, exist_ok=True)
        self.config.save_pretrained(folder)
        write_weights(self.state_dict(), folder)

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the input of each layer in training, and compute the layer again in the backward pass."""
        self.model.encoder.gradient_checkpointing = self.model.decoder.gradient_checkpointing = True

    def compile_layers(self) -> None:
        """Run the layers compiled by torch.compile in training; the first step compiles them."""
        for side in (self.model.encoder, self.model.decoder):
            side.compiled = True
            for layer in side.layers:
                layer.compile(dynamic=True)

    def prepack(self, quantization: Quantization | None = None) -> Self:
        """Prepare this model for inference. Afterwards it can be neither trained nor moved nor saved.

        On a CPU, linear layers store their weights in the layout of the fastest kernels; on a GPU, the output layer has
        an aligned copy of its weight, and attention projects by one product instead of three. Results are equal but for
        rounding. Other layers stay as they are.

        Args:
            quantization: "int8" lets linear layers compute with 8 bits, and attention in bfloat16 if the processor has
                it; the weights must be float32. None: compute in the type of the weights.

        Returns:
            this model

        Raises:
            InputError: int8 is asked for on a GPU, or with weights that are not float32.
        """
        if quantization is not None:
            self._prepare_for(quantization)
        weight, bias = self.model.shared.weight, self.final_logits_bias[0]
        if AlignedOutput.suits(weight):
            self.prepacked_output = AlignedOutput(weight, bias)
        else:
            self.prepacked_output = prepack_linear(weight, bias, quantization)
        prepack_linears(self.model, quantization)
        if weight.device.type in _JOINT_ON:
            for module in self.modules():
                if isinstance(module, MultiHeadAttention):
                    module.join_projections()
        return self

    def _prepare_for(self, quantization: Quantization) -> None:
        """Check that the model can be quantized, and let attention be in bfloat16 if the processor has it."""
        if self.final_logits_bias.device.type != "cpu":
            raise InputError(f"quantization {quantization} is for the CPU; on a GPU use bf16 or fp16")
        if self.final_logits_bias.dtype != torch.float32:
            raise InputError(f"quantization {quantization} needs float32 weights")
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            for module in self.modules():
                if isinstance(module, MultiHeadAttention):
                    module.attention_dtype = torch.bfloat16

    def get_encoder(self) -> BartEncoder:
        """Return the encoder, under transformers' name for it."""
        return self.model.encoder

    def get_decoder(self) -> BartDecoder:
        """Return the decoder, under transformers' name for it."""
        return self.model.decoder

    @property
    def generation_config(self) -> GenerationConfig:
        """The default settings of a search; changes apply from the next search on."""
        return self.config

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.shared.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.model.shared.weight.dtype

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Count the numbers in all parameters; tied parameters count once.

        Args:
            only_trainable: leave out frozen parameters.
            exclude_embeddings: leave out the tables of tokens and positions.
        """
        tables = {id(module.weight) for module in self.modules() if isinstance(module, nn.Embedding)}
        return sum(
            parameter.numel()
            for parameter in self.parameters()
            if not (only_trainable and not parameter.requires_grad)
            and not (exclude_embeddings and id(parameter) in tables)
        )


def find_target_indices(labels: Tensor) -> Tensor:
    """Return the indices (N,) of the labels that count in the flattened ``labels`` (B, T)."""
    return (labels.flatten() != IGNORE_INDEX).nonzero().squeeze(1)


def shift_tokens_right(labels: Tensor, pad_token_id: int, decoder_start_token_id: int) -> Tensor:
    """Make the decoder's input from ``labels`` (B, T): the start token, then all but the last; -100 becomes padding."""
    shifted = labels.roll(1, dims=1)
    shifted[:, 0] = decoder_start_token_id
    return shifted.masked_fill_(shifted == IGNORE_INDEX, pad_token_id)
