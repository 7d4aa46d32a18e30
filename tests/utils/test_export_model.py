from pathlib import Path

import torch
from transformers import BartForConditionalGeneration as TheirBart
from transformers import BartTokenizer as TheirTokenizer

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup
from utils.export_model import ExportArguments, export_model
from utils.run_folder import save_model


def test_half_the_size_and_the_same_model(setup: TinySetup, tokenizer: BartTokenizer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = BartForConditionalGeneration(BartConfig.from_json_file(setup.config)).eval()
    save_model(model, tokenizer, tmp_path / "whole")
    for half in (False, True):
        export_model(ExportArguments(str(tmp_path / "whole"), str(tmp_path / f"half {half}"), half))
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half False", "half True")]
    assert sizes[1] < 0.6 * sizes[0]

    read = BartForConditionalGeneration.from_pretrained(tmp_path / "half True")
    for name, weight in read.state_dict().items():
        assert weight.dtype == torch.float32 and torch.equal(weight, model.state_dict()[name].half().float())
    theirs = TheirBart.from_pretrained(tmp_path / "half True").float().eval()
    text = " Add an argument to the parser."
    ids = TheirTokenizer.from_pretrained(tmp_path / "half True")(text, return_tensors="pt").input_ids
    assert torch.equal(ids, tokenizer(text, return_tensors="pt").input_ids)
    with torch.no_grad():
        expected = theirs(ids, decoder_input_ids=ids).logits
        assert torch.allclose(read(ids, decoder_input_ids=ids).logits, expected, atol=1e-5)
