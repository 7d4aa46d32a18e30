"""Sharding of a model over processes (FSDP): each keeps a slice of every parameter, and gathers a layer to use it."""

from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from bart.modeling.modeling_bart import BartForConditionalGeneration


def shard(model: BartForConditionalGeneration, mesh: DeviceMesh) -> None:
    """Shard a model in place, layer by layer. All processes must hold the same weights, and call it equally often.

    The token embeddings, which encoder, decoder and output layer share, belong to the group of the model itself, which
    stays gathered during a forward and backward pass.
    """
    for layer in (*model.model.encoder.layers, *model.model.decoder.layers):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for method in ("loss_sum", "r_drop_loss_sum", "score_targets"):
        register_fsdp_forward_method(model, method)


def full_tensor(tensor: Tensor) -> Tensor:
    """Gather the full value of a tensor, which may be sharded. All processes must call this together."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
