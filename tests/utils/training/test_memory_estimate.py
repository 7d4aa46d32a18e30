"""The memory that a step keeps, by formula and by torch's autograd."""

import pytest
import torch

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration
from utils.training.memory_estimate import MemoryPlan, activation_bytes

HEADS = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4)


def kept_bytes(model: BartForConditionalGeneration, dtype: torch.dtype | None, batch: tuple[int, int, int]) -> int:
    """Count the bytes of all tensors that the layers keep for the backward pass, without weights and their casts."""
    examples, sources, targets = batch
    own = {weight.numel() for weight in model.parameters() if weight.ndim == 2}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.numel() not in own or tensor.requires_grad is False:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    tokens, labels = torch.full((examples, sources), 5), torch.full((examples, targets), 5)
    mask = torch.ones_like(tokens)
    mask[0, -1] = 0
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            model._target_states(tokens, mask, labels, None)[0].sum()
        weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        return sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in weights)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("batch", [(3, 60, 20), (2, 50, 50), (1, 3000, 40)])
def test_agrees_with_what_torch_keeps(batch: tuple[int, int, int], dtype: torch.dtype | None) -> None:
    config = BartConfig(
        d_model=64,
        vocab_size=101,
        max_position_embeddings=4096,
        encoder_layers=3,
        decoder_layers=2,
        encoder_ffn_dim=200,
        decoder_ffn_dim=144,
        **HEADS,
    )
    torch.manual_seed(0)
    model = BartForConditionalGeneration(config).train()
    plan = MemoryPlan(config, 0, 0, mixed_precision=dtype is not None, gradient_checkpointing=False)
    measured = kept_bytes(model, dtype, batch)
    logits = activation_bytes(plan, *batch) - measured  # only the formula counts them, and it rounds up
    assert -0.05 * measured < logits < 0.3 * measured, (measured, activation_bytes(plan, *batch))


def test_recomputing_layers_takes_a_fraction() -> None:
    config = BartConfig.from_json_file("configs/config.json")
    plans = [MemoryPlan(config, 0, 0, mixed_precision=True, gradient_checkpointing=again) for again in (False, True)]
    everything, inputs = (activation_bytes(plan, 8, 1024, 142) for plan in plans)
    assert inputs < everything / 4
