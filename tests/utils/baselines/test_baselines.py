import json
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning
import torch

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import write_tiny_setup
from utils.baselines.first_sentence import FirstSentenceArguments, evaluate_first_sentences, first_sentence
from utils.baselines.untrained import UntrainedArguments, save_untrained_model
from utils.loading import load_tokenizer

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One sentence. Another one.", "One sentence."),
        ("Dr. Gray waits! He is late.", "Dr. Gray waits!"),
        ("no period at all", "no period at all"),
        ("", ""),
        ("  ", ""),
    ],
)
def test_first_sentence(text: str, expected: str) -> None:
    assert first_sentence(text) == expected


def test_first_sentences_are_written_and_scored_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "test.source").write_text("Read the file. Then close it.\n\nNothing here. Or there.\n")
    (tmp_path / "test.target").write_text("Read the file.\nSay something.\nWrong words.\n")
    evaluate_first_sentences(FirstSentenceArguments(data_dir=str(tmp_path), save_path=str(tmp_path / "scores")))
    written = (tmp_path / "scores" / "test_generations.txt").read_text()
    assert written == "Read the file.\n\nNothing here.\n"
    report = json.loads((tmp_path / "scores" / "test_rouge.json").read_bytes())
    assert report["n_obs"] == 3
    assert report["rouge1"] == pytest.approx(100 / 3)
    assert report["scorer"]["splitter"] == "period"


def test_the_untrained_model_is_what_training_begins_with(tmp_path: Path) -> None:
    setup = write_tiny_setup(tmp_path)
    folder = tmp_path / "model"
    save_untrained_model(UntrainedArguments(str(setup.config), str(setup.tokenizer), str(folder)))
    config = BartConfig.from_json_file(setup.config)
    pytorch_lightning.seed_everything(42, verbose=False)  # as finetune.py does
    expected = BartForConditionalGeneration(config).state_dict()
    saved = BartForConditionalGeneration.from_pretrained(folder).state_dict()
    assert expected.keys() == saved.keys()
    assert all(torch.equal(expected[name], saved[name]) for name in expected)
    assert (
        load_tokenizer(None, str(folder), config).get_vocab()
        == load_tokenizer(str(setup.tokenizer), str(folder), config).get_vocab()
    )


def test_the_command_refuses_a_missing_split_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "utils.baselines.first_sentence", str(tmp_path), str(tmp_path / "scores")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: {tmp_path / 'test.source'}")
    assert process.stderr.count("\n") == 1
