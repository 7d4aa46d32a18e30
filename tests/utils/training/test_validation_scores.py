"""The scores of a validation: by the words that --rouge_tokenizer names."""

import pytest
import pytorch_lightning as pl

from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_training import DATASET, start_module
from utils.data.loaders import validation_loader
from utils.evaluation.rouge import rouge_scores


@pytest.mark.parametrize("name", ["ascii", "unicode"])
def test_the_tokenizer_decides(name, tokenizer: BartTokenizer) -> None:
    module = start_module(1, rouge_tokenizer=name)
    module.tokenizer, module.references = tokenizer, ["中文 a b"] * len(DATASET)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.validate(module, validation_loader(DATASET, 8, 1, 0, 0, pin_memory=False), verbose=False)

    # Again, with references that share words of either kind with what is predicted.
    predictions = dict(module._predictions)
    module.references = [f"{predictions[index]} 中文" for index in range(len(DATASET))]
    trainer.validate(module, validation_loader(DATASET, 8, 1, 0, 0, pin_memory=False), verbose=False)
    assert module._predictions == predictions
    texts = [predictions[index] for index in range(len(DATASET))]
    expected = {each: rouge_scores(texts, module.references, tokenizer=each) for each in ("ascii", "unicode")}
    found = {each: module.validation_metrics[each] for each in expected[name]}
    assert found == pytest.approx(expected[name]) and expected["ascii"] != pytest.approx(expected["unicode"])
