"""The commands and scripts of docs/other_engines.md: an exported model in CTranslate2, and as ONNX.

Each engine is installed into a folder of its own, which needs a package index: hence slow.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.end_to_end.other_packages import install, python_block, texts_of_the_corpus
from utils.data.batch import pad_sources

ROOT = Path(__file__).parents[2]
DOCUMENT = "docs/other_engines.md"
CTRANSLATE2, EXPORT_ONNX, SUMMARIZE_ONNX = range(3)  # the scripts, in their order

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported folder."""
    folder = tmp_path_factory.mktemp("exported") / "my_model"
    command = ["bash", "scripts/export_hf.sh", "models/bart_mini", str(folder)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHON": sys.executable}, check=True, timeout=300)
    return folder


def environment_with(folder: Path, command: str) -> dict[str, str]:
    """Install what a command of the document installs, and return an environment that has it."""
    (packages,) = re.findall(f"^pip install ({command}.*)$", (ROOT / DOCUMENT).read_text(), flags=re.MULTILINE)
    needed = ["flatbuffers", "ml_dtypes", "onnx_ir"] if command == "onnx" else []  # the rest is in the lock
    install(folder, "--no-deps", *packages.split(), *needed)
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }


def run(command: list[str], environment: dict[str, str], folder: Path, lines: list[str] | None = None) -> list[str]:
    """Run a command in a folder; returns the lines that it prints."""
    given = None if lines is None else "".join(f"{line}\n" for line in lines)
    done = subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def our_summaries(folder: Path, texts: list[str], **search: object) -> list[str]:
    """The summaries of this project, in batches of similar length."""
    model, tokenizer = BartForConditionalGeneration.from_pretrained(folder), BartTokenizer.from_pretrained(folder)
    model.prepack()
    ids = [np.array(tokenizer(f" {text}", max_length=512, truncation=True)["input_ids"]) for text in texts]
    order = sorted(range(len(texts)), key=lambda row: len(ids[row]))
    summaries = [""] * len(texts)
    for first in range(0, len(texts), 32):
        rows = order[first : first + 32]
        sequences = model.generate(*pad_sources([ids[row] for row in rows], 1, 512), **search)
        for row, sequence in zip(rows, sequences, strict=True):
            summaries[row] = tokenizer.decode(sequence, skip_special_tokens=True).strip()
    return summaries


def count_same(ours: list[str], theirs: list[str]) -> int:
    return sum(one == other for one, other in zip(ours, theirs, strict=True))


def test_ctranslate2(model: Path, tmp_path: Path) -> None:
    environment = environment_with(tmp_path / "packages", "ctranslate2")
    (convert,) = re.findall("^ct2-transformers-converter .*$", (ROOT / DOCUMENT).read_text(), flags=re.MULTILINE)
    run(convert.split(), environment, model.parent)
    texts = texts_of_the_corpus(200)
    script = [sys.executable, "-c", python_block(DOCUMENT, CTRANSLATE2)]
    theirs = run(script, environment, model.parent, texts)
    same = count_same(our_summaries(model, texts), theirs)
    same_renormalized = count_same(our_summaries(model, texts, renormalize_logits=True), theirs)
    print(f"of {len(texts)} summaries, {same} are the same, and {same_renormalized} with renormalize_logits")
    # Nothing but rounding is left: a pair of beams may have nearly the same score.
    assert 180 <= same <= same_renormalized >= 199


def test_onnx(model: Path, tmp_path: Path) -> None:
    environment = environment_with(tmp_path / "packages", "onnx")
    run([sys.executable, "-c", python_block(DOCUMENT, EXPORT_ONNX), "my_model"], environment, model.parent)

    # The summaries of greedy search.
    texts = texts_of_the_corpus(20)
    script = [sys.executable, "-c", python_block(DOCUMENT, SUMMARIZE_ONNX), "my_model"]
    theirs = run(script, environment, model.parent, texts)
    assert theirs == our_summaries(model, texts, num_beams=1, no_repeat_ngram_size=0, min_length=0)

    # The logits, for sizes other than those of the export, with padding.
    largest = run([sys.executable, "-c", LOGITS, "my_model"], environment, model.parent)
    print(f"largest difference of a logit: {largest}")
    assert len(largest) == 6 and max(map(float, largest)) < 1e-4


LOGITS = """
import sys
import onnxruntime, torch
from bart.modeling.modeling_bart import BartForConditionalGeneration

folder = sys.argv[1]
model = BartForConditionalGeneration.from_pretrained(folder)
encoder = onnxruntime.InferenceSession(f"{folder}/encoder.onnx")
decoder = onnxruntime.InferenceSession(f"{folder}/decoder.onnx")
torch.manual_seed(0)
for batch, source, target in ((1, 1, 1), (1, 5, 2), (2, 30, 7), (3, 512, 60), (7, 200, 300), (2, 17, 512)):
    tokens, targets = torch.randint(4, 4000, (batch, source)), torch.randint(4, 4000, (batch, target))
    mask = torch.ones_like(tokens)
    mask[-1, source // 2 + 1:] = 0
    given = {"input_ids": tokens.numpy(), "attention_mask": mask.numpy()}
    (states,) = encoder.run(None, given)
    inputs = {"decoder_input_ids": targets.numpy(), "encoder_states": states, "attention_mask": mask.numpy()}
    (logits,) = decoder.run(None, inputs)
    with torch.no_grad():
        expected = model(tokens, mask, targets).logits
    print((torch.from_numpy(logits) - expected).abs().max().item())
"""
