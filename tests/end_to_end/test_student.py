"""From a teacher to a student that is fine-tuned on its summaries, by the real commands."""

import json
from pathlib import Path

import torch

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import run
from tests.tiny_setup import TinySetup, tiny_config
from utils.checkpoint.export import save_model
from utils.data.line_files import read_lines
from utils.io.json_files import read_json


def test_a_student_learns_from_its_teachers_summaries(setup: TinySetup, tmp_path: Path) -> None:
    """The teacher's configuration does for the student, whose own number of layers counts, with a warning."""
    teacher, student, log = tmp_path / "teacher", tmp_path / "student", tmp_path / "log"
    torch.manual_seed(0)
    config = tiny_config().copy(decoder_layers=3, init_std=0.5)
    save_model(BartForConditionalGeneration(config), BartTokenizer.from_pretrained(setup.tokenizer), teacher)
    config_file = tmp_path / "config.json"
    config_file.write_text(json.dumps(config.to_dict()))

    # Its summaries of the training split, as the targets of another data folder.
    results, data = tmp_path / "results", tmp_path / "data"
    evaluation = [str(teacher), str(config_file), str(setup.data), str(results), "--type_path", "train", "--resume"]
    run("run_eval.py", evaluation, log)
    run("utils/commands/pseudo_labels.py", [str(results), str(setup.data), str(data)], log)
    labels = read_lines(data / "train.target")
    assert len(labels) == 61 and len(set(labels)) > 10

    # A student, fine-tuned on them.
    said = run("utils/commands/make_student.py", [str(teacher), str(student), "--decoder_layers", "2"], log)
    assert "1 of 1 encoder layers and 2 of 3 decoder layers (0, 2); " in said
    flags = ["--data_dir", str(data), "--config_path", str(config_file), "--model_name_or_path", str(student)]
    flags += ["--tokenizer_name_or_path", str(student), "--max_steps", "2", "--warmup_steps", "1"]
    output = run("finetune.py", [*setup.training_flags, *flags, "--output_dir", str(tmp_path / "tuned")], log)
    assert output.count("the model has decoder_layers 2 (given: 3): the model's own numbers count") == 1
    assert BartConfig.from_pretrained(tmp_path / "tuned" / "best_tfmr") == config.copy(decoder_layers=2)
    assert read_json(tmp_path / "tuned" / "run.json")["examples"]["train"] == sum(map(bool, map(str.strip, labels)))
