"""verify_published.sh whole, against a hub on the loopback interface whose published models are small stand-ins."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import ROOT
from tests.foreign_modules import write_foreign_modules
from tests.loopback_hub import LoopbackHub
from tests.tiny_setup import tiny_config, write_tiny_setup
from utils.checkpoint.export import save_model
from utils.commands.verify_published import VerifyArguments
from utils.commands.verify_published import verify as check_published
from utils.io.json_files import read_json, write_json
from utils.reporting.published_evaluations import EVALUATIONS, spans

TEXTS = 5
CORPORA = {
    "cnn": ("datasets/abisee/cnn_dailymail", "3.0.0", ("article", "highlights")),
    "xsum": ("datasets/EdinburghNLP/xsum@refs_convert_parquet", "default", ("document", "summary")),
}
Verify = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory):
    """Both corpora, and both models: random ones with the positions of the real ones."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "setup").mkdir()
    setup = write_tiny_setup(folder / "setup")
    torch.manual_seed(0)
    model = BartForConditionalGeneration(tiny_config().copy(max_position_embeddings=1024, init_std=0.2)).eval()
    for corpus, (name, config, columns) in CORPORA.items():
        save_model(model, BartTokenizer.from_pretrained(setup.tokenizer), folder / "facebook" / f"bart-large-{corpus}")
        for split in ("train", "validation", "test"):
            rows = range(TEXTS if split == "test" else 2)
            texts = [f"A text number {row} about an argument of the parser, in {corpus}." for row in rows]
            table = pyarrow.table(dict(zip(columns, [texts, [f"Text {row} of it." for row in rows]], strict=True)))
            path = folder / name / config / (f"{split}-00000-of-00001.parquet" if corpus == "cnn" else split)
            path = path if corpus == "cnn" else path / "0000.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pyarrow.parquet.write_table(table, path)
    with LoopbackHub(folder) as hub:
        yield hub


@pytest.fixture
def verify(hub: LoopbackHub, tmp_path: Path) -> Verify:
    write_foreign_modules(tmp_path)

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(ROOT / "scripts" / "verify_published.sh"), *arguments],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                **hub.environment(tmp_path / "cache"),
                **{"PYTHON": sys.executable, "BART_DATA": str(tmp_path / "data"), "CUDA_VISIBLE_DEVICES": ""},
                **{"RESULTS_DIR": str(tmp_path / "results"), "XDG_CACHE_HOME": str(tmp_path / "prepared")},
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


COUNTS = ("--expected_counts", f"2,2,{TEXTS}")


@pytest.mark.parametrize("corpus", ["cnn", pytest.param("xsum", marks=pytest.mark.slow)])
def test_whole(verify: Verify, hub: LoopbackHub, tmp_path: Path, corpus: str) -> None:
    """Corpus and model come from the hub; the tokens are transformers', and the ROUGE is not held, then held."""
    (tmp_path / "none.json").write_text('{"rouge1": 100}')
    process = verify(corpus, *COUNTS, "--published", str(tmp_path / "none.json"))
    assert process.returncode == 1, process.stdout + process.stderr
    assert process.stdout.endswith("Not the published values.\n") and "   not within 0.2\n" in process.stdout
    compared = f"facebook/bart-large-{corpus}, {TEXTS} texts: the same tokens as transformers"
    assert compared in process.stdout and process.stdout.index(compared) < process.stdout.index("not within")
    report = read_json(tmp_path / "results" / "test_rouge.json")
    assert report["n_obs"] == TEXTS and report["model"] == f"facebook/bart-large-{corpus}"
    beams = {"cnn": (4, 142, 56), "xsum": (6, 62, 11)}[corpus]
    assert (report["beams"], report["search"]["max_length"], report["search"]["min_length"]) == beams
    assert report["max_source_length"] == 1024 and report["precision"] == "fp32"

    values = {name: report[name] + 0.15 for name in spans(EVALUATIONS[corpus])}
    write_json(tmp_path / "values.json", values)
    hub_asked = len(hub.requests)
    process = verify(corpus, "0", "2", "=".join(COUNTS), f"--published={tmp_path / 'values.json'}", "--compare=0")
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.endswith("The published values, within the tolerance.\n")
    assert process.stdout.count("   held\n") == len(values) and "transformers" not in process.stdout
    assert not any("datasets" in path for _, path in hub.requests[hub_asked:])  # the corpus stayed


@pytest.mark.slow
def test_a_quick_look_holds_nothing(verify: Verify) -> None:
    process = verify("cnn", *COUNTS, "--n_obs", "3", "--compare", "2")
    assert "bart-large-cnn, 2 texts: the same tokens as" in process.stdout
    assert process.returncode == 0, process.stdout + process.stderr
    assert "3 examples" in process.stdout and "   44.16" in process.stdout
    assert process.stdout.endswith("published values are of all 5 examples, so nothing is held.\n")


@pytest.mark.slow
def test_the_published_values_are_the_default(verify: Verify) -> None:
    process = verify("xsum", *COUNTS)
    assert process.returncode == 1
    for evaluation in EVALUATIONS["xsum"]:
        assert evaluation.source in process.stdout
        assert all(f"{value:10.2f}" in process.stdout for value in evaluation.rouge.values())


def write_report(folder: Path, **rouge: float) -> None:
    scored = {"n_obs": 11490, "model": "m", "scorer": {"scorer": "s"}, **rouge}
    write_json(folder / "test_rouge.json", {**scored, "intervals_95": {name: [1, 2] for name in rouge}})


def test_the_whole_span_of_what_others_measured_is_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its ends, and a tolerance beyond them; each source is named with the difference to it."""
    for place in (0, 1):
        ends = {name: span[place] for name, span in spans(EVALUATIONS["cnn"]).items()}
        write_report(tmp_path, **ends)
        check_published(VerifyArguments(str(tmp_path), tolerance=0.01))
        assert capsys.readouterr().out.count("   held\n") == 3
        beyond = {name: value + (0.15 if place else -0.15) for name, value in ends.items()}
        write_report(tmp_path, **beyond)
        check_published(VerifyArguments(str(tmp_path)))
        assert capsys.readouterr().out.count("   held\n") == 3
        with pytest.raises(SystemExit) as ended:
            check_published(VerifyArguments(str(tmp_path), tolerance=0.1))
        lines = capsys.readouterr().out.splitlines()
        assert ended.value.code == 1 and sum(line.endswith("   not within 0.1") for line in lines) == 3
    paper = next(line for line in lines if line.startswith("BART's paper"))
    assert paper.split()[-6:] == ["44.16", "+0.31", "21.28", "+0.15", "40.90", "+0.38"]
    assert sum(line.startswith("transformers issue") for line in lines) == 3


def test_the_span_of_a_metric_is_of_the_evaluations_that_have_it() -> None:
    assert spans(EVALUATIONS["cnn"]) == {
        "rouge1": (43.98, 44.32),
        "rouge2": (21.06, 21.28),
        "rougeLsum": (40.82, 41.13),
    }
    assert spans(EVALUATIONS["xsum"]) == {"rouge1": (45.14, 45.37), "rouge2": (21.85, 22.30), "rougeL": (36.50, 37.25)}


def test_what_is_refused(verify: Verify, tmp_path: Path) -> None:
    for arguments, said in (
        (["news"], "give cnn or xsum"),
        (["cnn", "two"], "NUM_GPU is 'two'"),
        (["cnn", "0", "many"], "PRED_BS is 'many'"),
        (["cnn", "0", "1", "FP99"], "PRECISION is 'FP99'"),
        (["cnn", "0", "--model="], "--model: its value is missing"),
        (["cnn", "0", "--published"], "--published: its value is missing"),
        (["cnn", "0", "--compare", "all"], "--compare is 'all': it must be a whole number"),
        (["cnn", "0", "--rerank", "consensus"], "--rerank: the published scores are those of a beam search alone"),
        (["cnn", "0", "--rouge_tokenizer=unicode"], "unicode: the published scores are by words of ASCII"),
    ):
        process = verify(*arguments)
        assert process.returncode == 2 and said in process.stderr and process.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()
    write_json(tmp_path / "test_rouge.json", {"n_obs": 1, "model": "m", "scorer": {"scorer": "s"}})
    for values, said in (({"bleu": 1}, "give an object with some of rouge1"), ({"rouge1": "1"}, "give numbers")):
        write_json(tmp_path / "values.json", values)
        with pytest.raises(InputError, match=said):
            check_published(VerifyArguments(str(tmp_path), published=str(tmp_path / "values.json")))
