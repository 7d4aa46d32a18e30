"""torch's compiler takes over a second to import: only what is compiled imports it."""

import subprocess
import sys
from pathlib import Path

import torch
from torch._dynamo.testing import CompileCounterWithBackend

from bart.modeling.layers.attention import MultiHeadAttention

PROGRAM = """
import sys
import torch
from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration

sizes = dict.fromkeys(("d_model", "encoder_ffn_dim", "decoder_ffn_dim"), 16)
counts = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
config = BartConfig(**sizes, **counts, vocab_size=300, dropout=0.1, attention_dropout=0.1)
model = BartForConditionalGeneration(config)
tokens = torch.randint(4, 300, (2, 20))
model.train().loss_sum(tokens, None, tokens).backward()
model.save_pretrained(sys.argv[1])
model = BartForConditionalGeneration.from_pretrained(sys.argv[1])
model.generate(tokens, num_beams=2, max_length=5)
print(*sorted({"torch._dynamo", "sympy", "transformers"} & sys.modules.keys()))
"""


def test_training_and_search_import_no_compiler(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_compiling_does_not_change_attention_with_dropout() -> None:
    """The compiler leaves the attention of the CPU out of its graphs, and dropout draws the same numbers."""
    attention = MultiHeadAttention(16, 2, dropout=0.3).train()
    states = torch.randn(2, 20, 16)

    def attend() -> torch.Tensor:
        return attention(states, *attention.project_keys_values(states))

    graphs = CompileCounterWithBackend("aot_eager")
    results = []
    for run in (attend, torch.compile(attend, backend=graphs)):
        torch.manual_seed(0)
        output = run()
        results.append([output, *torch.autograd.grad(output.sum(), list(attention.parameters()))])
    for compiled, plain in zip(*reversed(results), strict=True):
        assert torch.equal(compiled, plain)
    called = {str(node.target) for graph in graphs.graphs for node in graph.graph.nodes if node.op.startswith("call")}
    assert called and not any(word in name for name in called for word in ("softmax", "attention", "autograd"))
