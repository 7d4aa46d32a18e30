"""BART's encoder-decoder (Lewis et al. 2019, https://arxiv.org/abs/1910.13461, section 2.1).

Parameters carry the names that Hugging Face's files use, so that state dicts go in and out unchanged.
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

from bart.checkpoints.weights import config_for, read_config, read_weights, write_weights
from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError
from bart.generation.generate import generate
from bart.generation.output import GenerationOutput
from bart.modeling.layers.attention import MultiHeadAttention, padding_mask
from bart.modeling.layers.dropout import Dropout
from bart.modeling.layers.fused_cross_entropy import cross_entropy_and_predictions, fused_cross_entropy
from bart.modeling.layers.kv_cache import DecoderCache, DecodeStep, LayerCache
from bart.modeling.layers.prepacked_linear import Quantization, prepack_linear, prepack_linears
from bart.modeling.layers.token_embedding import TokenEmbedding
from bart.modeling.layers.transformer import DecoderLayer, EncoderLayer, LearnedPositions
from bart.modeling.layers.unpadding import Unpadding
from bart.modeling.skip_initialization import SkipInitialization

IGNORE_INDEX = -100  # labels of this value (padding) do not count; the default of F.cross_entropy


class BartStack(nn.Module):
    """What the encoder and the decoder share: embeddings, layers, and how training runs these."""

    def __init__(
        self, config: BartConfig, embed_tokens: TokenEmbedding, layers: Iterable[nn.Module], layerdrop: float
    ) -> None:
        """layers: made when they are read, so that random weights are drawn in the order of this code."""
        super().__init__()
        self.embed_tokens = embed_tokens
        self.embed_positions = LearnedPositions(config.max_position_embeddings, config.d_model)
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        self.layernorm_embedding = nn.LayerNorm(config.d_model)
        self.layers = nn.ModuleList(layers)
        self.dropout = Dropout(config.dropout)
        self.layerdrop = layerdrop
        self.gradient_checkpointing = self.compiled = False  # see the model's methods

    def embed(self, input_ids: Tensor, start: int = 0, unpadding: Unpadding | None = None) -> Tensor:
        """Embed tokens (B, L) at the positions from ``start`` on: (B, L, D), or (N, D) by ``unpadding``."""
        positions = self.embed_positions(input_ids.size(1), start)  # (L, D)
        if unpadding is not None:
            input_ids = input_ids.flatten().index_select(0, unpadding.indices)
            positions = F.embedding(unpadding.positions(), positions)
        embedded = self.embed_tokens(input_ids) * self.embed_scale + positions
        states: Tensor = self.dropout(self.layernorm_embedding(embedded))
        return states

    def active_layers(self) -> Iterator[nn.Module]:
        """The layers of this pass: in training each is left out with probability ``layerdrop``.

        A random number is drawn before each layer, and only if layers can be left out.
        """
        for layer in self.layers:
            is_dropped = self.training and self.layerdrop > 0 and float(torch.rand(())) < self.layerdrop
            if not is_dropped:
                yield layer

    def run_layer(self, layer: nn.Module, *inputs: Any) -> Tensor:
        """Run one layer, in training with gradient checkpointing and compiled, if either is on."""
        output: Tensor
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            output = checkpoint(layer, *inputs, use_reentrant=False)
        elif self.compiled and not self.training:
            output = layer.forward(*inputs)  # as it was before the compilation
        else:
            output = layer(*inputs)
        return output


class BartEncoder(BartStack):
    """Token and position embeddings, then bidirectional layers."""

    def __init__(self, config: BartConfig, embed_tokens: TokenEmbedding) -> None:
        layers = (EncoderLayer(config) for _ in range(config.encoder_layers))
        super().__init__(config, embed_tokens, layers, config.encoder_layerdrop)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, unpadding: Unpadding | None = None
    ) -> Tensor:
        """Source tokens to states.

        Args:
            input_ids: (B, S).
            attention_mask: (B, S), 0 where padded, None for no padding.
            unpadding: the places of the tokens that are not padding, to compute only those.

        Returns:
            (B, S, D), with ``unpadding`` (M, D)
        """
        states = self.embed(input_ids, unpadding=unpadding)
        mask = padding_mask(attention_mask)
        for layer in self.active_layers():
            states = self.run_layer(layer, states, mask, unpadding)
        return states


class BartDecoder(BartStack):
    """Token and position embeddings, then causal layers that also attend to the encoder's states."""

    def __init__(self, config: BartConfig, embed_tokens: TokenEmbedding) -> None:
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
        """Decode all target tokens at once, or, with a cache, the tokens that follow those it holds.

        Args:
            input_ids: (B*K, T).
            encoder_states: (B, S, D), or (M, D) by ``encoder_unpadding``; needed where there is no cache.
            encoder_attention_mask: (B, S), 0 where padded, None for no padding.
            cache: from ``new_cache``; takes the new tokens.
            unpadding: the places of the target tokens that are not padding, to compute only those; without a cache.

        Returns:
            (B*K, T, D), with ``unpadding`` (N, D)
        """
        states = self.embed(input_ids, 0 if cache is None else cache.length, unpadding)
        mask = padding_mask(encoder_attention_mask)
        if cache is not None:
            return self.decode_next(states, mask, cache, cache.advance(input_ids.size(1)))
        for layer in self.active_layers():
            states = self.run_layer(layer, states, encoder_states, mask, None, None, unpadding, encoder_unpadding)
        return states

    def decode_next(self, states: Tensor, encoder_mask: Tensor | None, cache: DecoderCache, step: DecodeStep) -> Tensor:
        """Put the next tokens' embeddings (B*K, T, D), of which either K or T is 1, through the layers.

        Args:
            encoder_mask: bool, broadcastable to (B, H, T, S), or None.
            step: from ``cache.advance``.
        """
        together = states.reshape(-1, cache.beams * states.size(1), states.size(2))  # (B, K*T, D)
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            together = self.run_layer(layer, together, None, encoder_mask, layer_cache, step)
        return together.view_as(states)

    def new_cache(self, encoder_states: Tensor, beams: int, max_length: int) -> DecoderCache:
        """An empty cache for ``beams`` sequences of up to ``max_length`` tokens per sentence of (B, S, D)."""
        caches = [
            LayerCache(keys.contiguous(), values.contiguous(), beams, max_length)
            for keys, values in self._project_sources(encoder_states)
        ]
        return DecoderCache(caches, beams, max_length)

    def reset_cache(self, cache: DecoderCache, encoder_states: Tensor) -> None:
        """Begin anew with a cache of ``new_cache``, for other sources of the same shape (B, S, D)."""
        cache.reset(self._project_sources(encoder_states))

    def _project_sources(self, encoder_states: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            yield layer.encoder_attn.project_keys_values(encoder_states)


class BartModel(nn.Module):
    """The encoder and the decoder on one table of token embeddings."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.shared = TokenEmbedding(config.vocab_size, config.d_model, config.pad_token_id)
        self.encoder = BartEncoder(config, self.shared)
        self.decoder = BartDecoder(config, self.shared)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, decoder_input_ids: Tensor) -> Tensor:
        """input_ids, attention_mask: (B, S); decoder_input_ids: (B, T) -> decoder states (B, T, D)."""
        encoder_states = self.encoder(input_ids, attention_mask)
        states: Tensor = self.decoder(decoder_input_ids, encoder_states, attention_mask)
        return states


@dataclass
class Seq2SeqOutput:
    """The result of a forward pass. As in transformers it can be indexed: the loss, if there is one, comes first."""

    logits: Tensor  # (B, T, V)
    loss: Tensor | None = None  # scalar, mean over the labels that count

    def __getitem__(self, index: int) -> Tensor:
        given = [self.logits] if self.loss is None else [self.loss, self.logits]
        return given[index]


class BartForConditionalGeneration(nn.Module):
    """BART with an output layer tied to its token embeddings: the model that is fine-tuned for summarization."""

    final_logits_bias: Tensor  # (1, V)

    def __init__(self, config: BartConfig) -> None:
        """Random weights, normal with ``config.init_std``, drawn from torch's global generator."""
        super().__init__()
        self.config = config
        self.model = BartModel(config)
        self.register_buffer("final_logits_bias", torch.zeros(1, config.vocab_size))
        self.prepacked_output: nn.Module | None = None  # after prepack()
        self.model.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
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
            attention_mask: (B, S), 0 where padded; None: nothing is padded.
            decoder_input_ids: (B, T); None: the labels or, without labels, ``input_ids``, shifted right (which fills
                masks).
            labels: (B, T), -100 where they do not count.

        Raises:
            InputError: a sequence is too long.
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
        """Decoder states to logits: (..., D) -> (..., V)."""
        if self.prepacked_output is None:
            return F.linear(states, self.model.shared.weight) + self.final_logits_bias
        logits: Tensor = self.prepacked_output(states)
        return logits

    def generate(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **search: Any
    ) -> Tensor | GenerationOutput:
        """Search for outputs; see ``bart.generation.generate.generate``."""
        return generate(self, input_ids, attention_mask, **search)

    def loss_sum(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        labels: Tensor,
        label_smoothing: float = 0.0,
        target_indices: Tensor | None = None,
    ) -> Tensor:
        """Sum the cross entropy, in nats, over the labels that count, as training needs it, and without the logits.

        Args:
            input_ids: (B, S).
            attention_mask: (B, S), 0 where padded; None: nothing is padded, and attention is faster.
            labels: (B, T), -100 where they do not count, which is usually behind the target.
            label_smoothing: probability taken from the label and spread over the vocabulary.
            target_indices: (N,), of the labels that count among all B * T. None: they are looked for, and the host
                waits for a GPU to find them.
        """
        with self.model.shared.tied_gradients():
            states, targets = self._target_states(input_ids, attention_mask, labels, target_indices)
            table = self.model.shared.table
        return fused_cross_entropy(states, table, self.final_logits_bias[0], targets, label_smoothing)

    def score_targets(
        self, input_ids: Tensor, attention_mask: Tensor | None, labels: Tensor, target_indices: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum the cross entropy, as validation needs it, and predict the likeliest token of each of the N targets (N,).

        Arguments as of ``loss_sum``; the model reads the targets that it is to write. Without gradients.
        """
        states, targets = self._target_states(input_ids, attention_mask, labels, target_indices)
        return cross_entropy_and_predictions(states, self.model.shared.weight, self.final_logits_bias[0], targets)

    def _target_states(
        self, input_ids: Tensor, attention_mask: Tensor | None, labels: Tensor, target_indices: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Decoder states (N, D) and labels (N,) of the target tokens."""
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
        """Decoder states of the targets (N, D), without computing those of padding."""
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
        """Whether to leave padding out: only on a CPU, and only if padding is behind all targets.

        A GPU would take as long to move the tokens, compiled layers want few shapes, and labels that do not count
        before a target are read by it.
        """
        if labels.device.type != "cpu" or self.model.encoder.compiled or len(target_indices) == 0:
            return False
        is_target = labels != IGNORE_INDEX
        return bool((is_target[:, 1:] <= is_target[:, :-1]).all())

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], config: BartConfig | None = None) -> Self:
        """A model in evaluation mode, float32, from a Hugging Face folder or hub id, or this project's .ckpt.

        Args:
            config: takes the place of the stored configuration, but for the number of tokens; its shape must be that of
                the weights.

        Raises:
            InputError: nothing usable there, or tensors are missing, surplus or of another shape.
        """
        config = read_config(name_or_path) if config is None else config_for(name_or_path, config)
        with torch.device("meta"), SkipInitialization():
            model = cls(config)
        model.load_state_dict(read_weights(name_or_path, model.state_dict()), assign=True)
        return model.eval()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json, generation_config.json and model.safetensors, as transformers reads them."""
        os.makedirs(folder, exist_ok=True)
        self.config.save_pretrained(folder)
        write_weights(self.state_dict(), folder)

    def enable_gradient_checkpointing(self) -> None:
        """In training keep only each layer's input, and compute the layer again in the backward pass."""
        self.model.encoder.gradient_checkpointing = self.model.decoder.gradient_checkpointing = True

    def compile_layers(self) -> None:
        """In training run the layers as torch.compile makes them; the compilation comes with the first step."""
        for side in (self.model.encoder, self.model.decoder):
            side.compiled = True
            for layer in side.layers:
                layer.compile(dynamic=True)

    def prepack(self, quantization: Quantization | None = None) -> Self:
        """Make this model ready for inference on the CPU, for good: it can be neither trained nor moved nor saved then.

        The weights of linear layers are put into the layout that the fastest kernels read; the results are the same
        but for rounding. With ``quantization`` "int8" these layers compute with 8 bits, and attention is in bfloat16
        if the processor has it; the weights must be float32 then. What has no faster form, and a model on a GPU,
        stays as it is. Returns the model.

        Raises:
            InputError: int8 is asked for on a GPU, or of weights that are not float32.
        """
        if quantization is not None:
            self._prepare_for(quantization)
        self.prepacked_output = prepack_linear(self.model.shared.weight, self.final_logits_bias[0], quantization)
        prepack_linears(self.model, quantization)
        return self

    def _prepare_for(self, quantization: Quantization) -> None:
        """Refuse what cannot be quantized, and let attention be in bfloat16 if the processor has it."""
        if self.final_logits_bias.device.type != "cpu":
            raise InputError(f"quantization {quantization} is for the CPU; on a GPU use bf16 or fp16")
        if self.final_logits_bias.dtype != torch.float32:
            raise InputError(f"quantization {quantization} needs float32 weights")
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            for module in self.modules():
                if isinstance(module, MultiHeadAttention):
                    module.attention_dtype = torch.bfloat16

    def get_encoder(self) -> BartEncoder:
        """The encoder, as transformers calls it."""
        return self.model.encoder

    def get_decoder(self) -> BartDecoder:
        """The decoder, as transformers calls it."""
        return self.model.decoder

    @property
    def generation_config(self) -> GenerationConfig:
        """The settings that a search has if its call does not say otherwise; changes count from the next search on."""
        return self.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.shared.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.model.shared.weight.dtype

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers the parameters have, the tied ones once.

        Args:
            only_trainable: without frozen parameters.
            exclude_embeddings: without the tables of tokens and positions.
        """
        tables = {id(module.weight) for module in self.modules() if isinstance(module, nn.Embedding)}
        return sum(
            parameter.numel()
            for parameter in self.parameters()
            if not (only_trainable and not parameter.requires_grad)
            and not (exclude_embeddings and id(parameter) in tables)
        )


def find_target_indices(labels: Tensor) -> Tensor:
    """Find the labels that count: (N,), their indices among all of ``labels`` (B, T)."""
    return (labels.flatten() != IGNORE_INDEX).nonzero().squeeze(1)


def shift_tokens_right(labels: Tensor, pad_token_id: int, decoder_start_token_id: int) -> Tensor:
    """Make the decoder's input from ``labels`` (B, T): the start token, then all but the last; -100 becomes pad."""
    shifted = labels.roll(1, dims=1)
    shifted[:, 0] = decoder_start_token_id
    return shifted.masked_fill_(shifted == IGNORE_INDEX, pad_token_id)
