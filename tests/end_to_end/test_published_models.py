"""From models in the forms of facebook/bart-large and facebook/bart-large-cnn, by these names, through the scripts.

The hub is on the loopback interface, the models are stand-ins with random weights and the real number of tokens.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.commands import Command, refusal, run, run_as_torchrun
from tests.loopback_hub import LoopbackHub
from tests.published_forms import SIZES, bare_weights, write_model
from tests.tiny_setup import EXAMPLES, TinySetup
from utils.data.line_files import read_lines
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]
TOKENS = 50265  # of the tokenizer, <mask> the last of them
POSITIONS = 1024
TABLE = "model.shared.weight"


def write_tokenizer(trained: Path, folder: Path) -> None:
    """Vocabulary and merges as published, with made-up tokens up to their number."""
    vocabulary = json.loads((trained / "vocab.json").read_text())
    mask = vocabulary.pop("<mask>")
    vocabulary |= {f"madeup{token_id}": token_id for token_id in range(mask, TOKENS - 1)}
    (folder / "vocab.json").write_text(json.dumps({**vocabulary, "<mask>": TOKENS - 1}))
    shutil.copy(trained / "merges.txt", folder)


@pytest.fixture(scope="module")
def models(setup: TinySetup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the hub. Read only."""
    folder = tmp_path_factory.mktemp("hub")
    for name, form, container, tokens in (
        ("bart-large", "bare, with counters", "bin of 2020", TOKENS),
        ("bart-large-cnn", "the decoder's table alone", "safetensors", TOKENS - 1),
    ):
        write_model(folder / "facebook" / name, form, container, bare_weights(tokens, POSITIONS))
        write_tokenizer(setup.tokenizer, folder / "facebook" / name)
    return folder


@pytest.fixture(scope="module")
def masked(setup: TinySetup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of which two sources and a target of each split hold a <mask>. Read only."""
    folder = tmp_path_factory.mktemp("masked") / "data"
    shutil.copytree(setup.data, folder, ignore=shutil.ignore_patterns(".prepared"))
    for split in EXAMPLES:
        for side, rows in (("source", (0, 3)), ("target", (1,))):
            lines = read_lines(folder / f"{split}.{side}")
            for row in rows:
                lines[row] = f"The <mask> is here. {lines[row]}"
            (folder / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """configs/config_xsum.json, of the models' size but for the tokens: it says 50,265."""
    values = json.loads((ROOT / "configs" / "config_xsum.json").read_text()) | {"d_model": SIZES["d_model"]}
    for side in ("encoder", "decoder"):
        values |= {f"{side}_{name}": SIZES[size] for name, size in (("layers", "layers"), ("ffn_dim", "ffn"))}
        values[f"{side}_attention_heads"] = SIZES["heads"]
    assert values["vocab_size"] == TOKENS and values["max_position_embeddings"] == POSITIONS
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps(values))
    return path


def preset(data: Path, config: Path) -> list[str]:
    """The arguments of a preset for XSum, with other data and shape, and for a CPU."""
    command = f"source {ROOT}/scripts/params/xsum_params.sh && dgx1_1gpu_fp32"
    words = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout.split()
    assert words[:3] == ["data/xsum", "configs/config_xsum.json", "1"] and len(words) == 16
    return [str(data), str(config), "0", *words[3:]]


SHORT = ["--max_steps", "4", "--warmup_steps", "1", "--train_batch_size", "4", "--gradient_accumulation_steps", "2"]
SHORT += ["--eval_batch_size", "8", "--val_check_interval", "0.5"]


def script(name: str, arguments: list[str], results: Path, hub: LoopbackHub, cache: Path) -> str:
    """What it printed."""
    environment = {**os.environ, **hub.environment(cache), "PYTHON": sys.executable, "RESULTS_DIR": str(results)}
    command = ["bash", str(ROOT / "scripts" / name), *arguments]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def lines_with(text: str, output: str) -> list[str]:
    return [line for line in output.splitlines() if text in line]


def test_bart_large(setup: TinySetup, models: Path, config: Path, tmp_path: Path) -> None:
    """The preset as it is: it names no model."""
    with LoopbackHub(models) as hub:
        flags = [*preset(setup.data, config), *SHORT]
        output = script("run_summarization.sh", flags, tmp_path / "results", hub, tmp_path / "cache")
        evaluation = ["facebook/bart-large", "8", "0", "fp32", "2", "1024", "60", str(setup.data), str(config)]
        evaluated = script("run_eval_summarization.sh", evaluation, tmp_path / "start", hub, tmp_path / "cache")
    assert ("GET", "/facebook/bart-large/resolve/main/pytorch_model.bin") in {
        (method, path) for method, path in hub.requests if path.endswith(".bin")
    }
    for said in (output, evaluated):
        assert lines_with("left out, as", said) == [
            "facebook/bart-large: left out, as a summarizer does not need it: decoder.version, encoder.version"
        ]
    assert not lines_with("model's own number", output) and not lines_with("<mask>", output)
    tuned = load_file(tmp_path / "results" / "best_tfmr" / "model.safetensors")
    start = bare_weights(TOKENS, POSITIONS)
    assert torch.equal(tuned[TABLE], start["shared.weight"])  # frozen by the recipe
    moved = tuned["model.decoder.layers.0.fc1.weight"] - start["decoder.layers.0.fc1.weight"]
    assert 0 < moved.abs().max() < 0.01
    assert read_json(tmp_path / "results" / "test_rouge.json")["unknown_tokens"] == 0
    for folder in ("results", "start"):
        assert len(read_lines(tmp_path / folder / "test_generations.txt")) == EXAMPLES["test"]


def test_bart_large_cnn(masked: Path, models: Path, config: Path, tmp_path: Path) -> None:
    """It has no row for the <mask> in the texts, and a token less than CONFIG_PATH says."""
    name, results = "facebook/bart-large-cnn", tmp_path / "results"
    with LoopbackHub(models) as hub:
        flags = [*preset(masked, config), *SHORT, "--eval_beams", "2", "--model_name_or_path", name]
        output = script("run_summarization.sh", flags, results, hub, tmp_path / "cache")
        evaluation = [name, "8", "0", "fp32", "2", "1024", "60", str(masked), str(config)]
        evaluated = script("run_eval_summarization.sh", evaluation, tmp_path / "start", hub, tmp_path / "cache")
    number = "the model has 50,264 tokens, the configuration says 50,265: the model's own number counts"
    assert lines_with(number, output) == [f"{name}: {number}", f"{results / 'best_tfmr'}: {number}"]
    assert lines_with(number, evaluated) == [f"{name}: {number}"]
    unknown = "not in the model's vocabulary (<mask>), so it reads <unk> there"
    for split in EXAMPLES:
        assert f"warning: {split}: in the sources 2 tokens are {unknown}" in output.splitlines()
        assert f"warning: {split}: in the targets 1 token is {unknown}" in output.splitlines()
    report = read_json(results / "data_report.json")["splits"]
    assert all(report[split]["source"]["unknown_tokens"] == 2 for split in EXAMPLES)
    assert all(report[split]["target"]["unknown_tokens"] == 1 for split in EXAMPLES)
    for folder, said in ((results, output), (tmp_path / "start", evaluated)):
        assert f"in the sources 2 tokens are {unknown}" in said.splitlines()
        assert read_json(folder / "test_rouge.json")["unknown_tokens"] == 2
        assert len(read_lines(folder / "test_generations.txt")) == EXAMPLES["test"]
    assert read_json(results / "best_tfmr" / "config.json")["vocab_size"] == TOKENS - 1
    assert torch.equal(
        load_file(results / "best_tfmr" / "model.safetensors")[TABLE],
        bare_weights(TOKENS - 1, POSITIONS)["shared.weight"],
    )


def test_a_text_with_a_mask_is_summarized(models: Path, tmp_path: Path) -> None:
    """As with <unk> in its place."""
    summaries = []
    for token in ("<mask>", "<unk>"):
        (tmp_path / "texts").write_text(f"A{token} of the parser.\nparser\n")
        arguments = [str(models / "facebook" / "bart-large-cnn"), str(tmp_path / "texts"), "--max_length", "8"]
        output = run("utils/commands/summarize.py", arguments, tmp_path / "log").splitlines()
        said = f"{tmp_path / 'texts'}: 1 token is not in the model's vocabulary (<mask>), so it reads <unk> there"
        assert output[2:] == ([said] if token == "<mask>" else [])
        summaries.append(output[:2])
    assert summaries[0] == summaries[1] and any(summaries[0])


def test_of_two_processes_one_says_it(masked: Path, models: Path, config: Path, tmp_path: Path) -> None:
    arguments = [str(models / "facebook" / "bart-large-cnn"), str(config), str(masked), str(tmp_path / "out")]
    flags = ["--n_obs", "4", "--eval_beams", "1", "--max_target_length", "5", "--min_length", "0"]
    output = run_as_torchrun("run_eval.py", [*arguments, *flags], tmp_path / "log", 2)
    assert len(lines_with("the model's own number counts", output)) == 1
    assert "in the sources 2 tokens are not in the model's vocabulary (<mask>)" in output
    assert "the model's own number" not in (tmp_path / "log1").read_text()


def test_both_are_exported(models: Path, tmp_path: Path) -> None:
    """What is written, transformers reads without a remark, and here it is the same model."""
    for name, left_out in (("bart-large", 1), ("bart-large-cnn", 0)):
        start = models / "facebook" / name
        output = run("utils/commands/export_model.py", [str(start), str(tmp_path / name)], tmp_path / "log")
        assert len(lines_with("left out", output)) == left_out
        exported, expected = (
            BartForConditionalGeneration.from_pretrained(folder).state_dict() for folder in (tmp_path / name, start)
        )
        assert all(torch.equal(exported[key], expected[key]) for key in expected)
        theirs, report = transformers.BartForConditionalGeneration.from_pretrained(
            tmp_path / name, output_loading_info=True
        )
        assert not any(report.values()) and len(theirs.model.shared.weight) == len(expected[TABLE])
        assert len(transformers.BartTokenizer.from_pretrained(tmp_path / name)) == TOKENS


def test_pre_training_needs_the_row_of_mask(masked: Path, models: Path, config: Path, tmp_path: Path) -> None:
    name = str(models / "facebook" / "bart-large-cnn")
    flags = ["--task", "denoising", "--no-freeze_embeds", "--data_dir", str(masked), "--model_name_or_path", name]
    flags += ["--gpus", "0", "--output_dir", str(tmp_path / "out")]
    command = Command("finetune.py", [*flags, "--config_path", str(config)], tmp_path / "log")
    assert command.wait() == 2
    said, refused = command.output.splitlines()
    assert said.startswith(f"{name}: the model has 50,264 tokens")
    assert refused.startswith("error: the model's vocabulary of 50264 tokens lacks <mask> (id 50264)")
    assert not (tmp_path / "out").exists()
    assert refusal("finetune.py", flags, tmp_path / "log") == refused  # with the model's own configuration
