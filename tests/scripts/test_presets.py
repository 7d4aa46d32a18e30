"""Every preset function prints what its row of the reference's tables says."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEFORE_LENGTHS = ["GPUS", "LR", "BS", "ACCUM", "PREC", "STEPS", "WARMUP"]
AFTER_BEAMS = ["EVAL_BS", "PRED_BS", "VAL_CHECK_INTERVAL", "PATIENCE"]
COLUMNS = BEFORE_LENGTHS + AFTER_BEAMS

# The last column, where there is one, is the PRED_BS of the `_eval` function.
REFERENCE = {
    "cnn_dm": """
        dgxa100_8gpu_fp16  8 1.25e-4 40 1 fp16  2000  50 128 128 0.3 2
        dgxa100_8gpu_tf32  8 1.25e-4 24 1 tf32  3333  50 128  64 0.3 2
        dgx2_16gpu_fp16   16    1e-4 14 1 fp16  3500 100 128  96 0.3 2
        dgx2_16gpu_fp32   16    7e-5  8 1 fp32  6125 150  96  32 0.3 2
        dgx1_8gpu_fp16     8  5.5e-5 14 1 fp16  7000 150 128  96 0.3 2
        dgx1_8gpu_fp32     8  5.5e-5  8 1 fp32 12250 150  96  32 0.3 2
    """,
    "xsum": """
        dgxa100_8gpu_fp16  8 1.25e-4 40 1 fp16  2000  50 128 128 0.1 2
        dgxa100_8gpu_tf32  8 1.25e-4 24 1 tf32  3333  50 128  64 0.1 2
        dgx2_16gpu_fp16   16    1e-4 14 1 fp16  3500 100 128  96 0.3 1
        dgx2_16gpu_fp32   16 1.25e-4  8 1 fp32  6125 150  96  32 0.3 1
        dgx1_8gpu_fp16     8    7e-5 14 1 fp16  7000 200 128  64 0.3 1 96
        dgx1_8gpu_fp32     8    7e-5  8 1 fp32 12250 200  96  32 0.3 1
    """,
}
DATA = {  # DATA_DIR and CONFIG_PATH, MAX_SOURCE_LEN and MAX_TARGET_LEN, EVAL_BEAMS
    "cnn_dm": ("data/cnn_dm configs/config.json", "1024 142", "4"),
    "xsum": ("data/xsum configs/config_xsum.json", "1024 60", "6"),
}
# What each of this project's own presets changes in a reference row.
DERIVED: dict[str, tuple[str, dict[str, str]]] = {
    "dgxa100_1gpu_fp16": ("dgxa100_8gpu_fp16", {"GPUS": "1", "ACCUM": "8"}),
    "dgxa100_1gpu_tf32": ("dgxa100_8gpu_tf32", {"GPUS": "1", "ACCUM": "8"}),
    "dgx1_1gpu_fp16": ("dgx1_8gpu_fp16", {"GPUS": "1", "ACCUM": "8"}),
    "dgx1_1gpu_fp32": ("dgx1_8gpu_fp32", {"GPUS": "1", "ACCUM": "8"}),
    "h100_8gpu_bf16": ("dgxa100_8gpu_fp16", {"PREC": "bf16"}),
    "h200_1gpu_bf16": ("dgxa100_8gpu_fp16", {"GPUS": "1", "ACCUM": "8", "PREC": "bf16"}),
    # BS x ACCUM is 112 and 320, as on the 8 GPUs.
    "t4_1gpu_fp16": (
        "dgx1_8gpu_fp16",
        {"GPUS": "1", "BS": "4", "ACCUM": "28", "EVAL_BS": "32", "PRED_BS": "32", "EVAL_PRED_BS": "32"},
    ),
    "rtx4090_1gpu_bf16": (
        "dgxa100_8gpu_fp16",
        {
            **{"GPUS": "1", "BS": "10", "ACCUM": "32", "PREC": "bf16"},
            **{"EVAL_BS": "64", "PRED_BS": "32", "EVAL_PRED_BS": "32"},
        },
    ),
}


def rows(corpus: str) -> dict[str, dict[str, str]]:
    """Function name to the values of its row."""
    table = {}
    for line in REFERENCE[corpus].split("\n"):
        name, *values = line.split() or [""]
        if name:
            row = dict(zip(COLUMNS, values, strict=False))
            table[name] = {**row, "EVAL_PRED_BS": values[-1] if len(values) > len(COLUMNS) else row["PRED_BS"]}
    return table | {name: {**table[base], **changes} for name, (base, changes) in DERIVED.items()}


def expected(corpus: str) -> dict[str, str]:
    """Function name to the line it prints."""
    data, lengths, beams = DATA[corpus]
    lines = {}
    for name, row in rows(corpus).items():
        before, after = [row[column] for column in BEFORE_LENGTHS], [row[column] for column in AFTER_BEAMS]
        lines[name] = " ".join([data, *before, lengths, beams, *after])
        lines[f"{name}_eval"] = f"{row['EVAL_PRED_BS']} {row['GPUS']} {row['PREC']} {beams} {lengths} {data}"
    return lines


def printed(corpus: str) -> dict[str, str]:
    """What every preset function of a file prints, called from another folder than the checkout."""
    calls = (
        f'source "{ROOT}/scripts/params/{corpus}_params.sh" && '
        'for name in $(compgen -A function); do [[ $name == _* ]] || echo "$name" $($name); done'
    )
    run = subprocess.run(["bash", "-c", calls], cwd="/", capture_output=True, text=True, check=True, timeout=60)
    assert run.stderr == ""
    return dict(line.split(" ", 1) for line in run.stdout.splitlines())


@pytest.mark.parametrize("corpus", ["cnn_dm", "xsum"])
def test_presets_print_their_rows(corpus: str) -> None:
    assert printed(corpus) == expected(corpus)


@pytest.mark.parametrize("corpus", ["cnn_dm", "xsum"])
def test_smaller_gpus_keep_the_examples_per_step(corpus: str) -> None:
    def examples_per_step(name: str) -> int:
        gpus, _, batch, accumulation = lines[name].split()[2:6]
        return int(gpus) * int(batch) * int(accumulation)

    lines = printed(corpus)
    assert examples_per_step("t4_1gpu_fp16") == examples_per_step("dgx1_8gpu_fp16") == 112
    assert examples_per_step("rtx4090_1gpu_bf16") == examples_per_step("dgxa100_8gpu_fp16") == 320


def test_the_embedded_default_trains_on_the_cpu() -> None:
    """A pretrained model, or the same from random weights, which differs in nothing but the learning rate."""
    lines = printed("docstrings")
    assert lines.keys() == {"cpu", "cpu_from_scratch", "cpu_eval"}
    train, flags = lines["cpu"].split()[:16], lines["cpu"].split()[16:]
    assert train[:3] == ["data/docstrings", "configs/config_mini.json", "0"]
    assert " ".join(flags) == "--model_name_or_path models/bart_mini --no-freeze_embeds"
    precision, source, target, beams, prediction_batch = train[6], *train[9:12], train[13]
    assert lines["cpu_eval"].split() == [prediction_batch, "0", precision, beams, source, target, *train[:2]]

    scratch = lines["cpu_from_scratch"].split()
    assert [*train[:3], *train[4:]] == [*scratch[:3], *scratch[4:16]]
    start = "--model_name_or_path scratch --tokenizer_name_or_path models/bart_mini --no-freeze_embeds"
    assert " ".join(scratch[16:]) == start


@pytest.mark.parametrize(
    ("corpus", "examples", "epochs", "texts_per_step"), [("samsum", 14_732, 10, 8), ("dialogsum", 12_460, 5, 32)]
)
def test_dialogues(corpus: str, examples: int, epochs: int, texts_per_step: int) -> None:
    """Every preset takes the steps and has the lengths of the recipe that it follows, and the evaluation of it too."""
    lines = {name: line.split() for name, line in printed(corpus).items()}
    machines = ["dgxa100_1gpu_fp16", "h200_1gpu_bf16", "rtx4090_1gpu_bf16", "t4_1gpu_fp16"]
    assert lines.keys() == {name + ending for name in [*machines, "cpu"] for ending in ("", "_eval")}
    for name in [*machines, "cpu"]:
        train, evaluation = lines[name], lines[f"{name}_eval"]
        assert train[0] == f"data/{corpus}" and (ROOT / train[1]).is_file()
        assert evaluation == [train[13], train[2], train[6], train[11], *train[9:11], *train[:2]]
        if name in machines:
            assert (train[3], int(train[4]) * int(train[5])) == ("3e-5", texts_per_step)
            assert int(train[7]) == pytest.approx(epochs * examples / texts_per_step, rel=0.005)


def test_pretraining() -> None:
    """The paper's texts per step and steps; every preset is a command line of finetune.py by way of its script."""
    lines = {name: line.split() for name, line in printed("pretraining").items()}
    assert lines.keys() == {
        *("bart_large_8gpu_bf16", "bart_base_8gpu_bf16"),
        *("mini_short_cpu", "mini_cpu", "mini_again_cpu", "mini_short_1gpu", "mini_1gpu"),
    }
    large, base = lines["bart_large_8gpu_bf16"], lines["bart_base_8gpu_bf16"]
    assert [int(large[2]) * int(large[4]) * int(large[5]), large[7], large[9]] == [8000, "500000", "512"]
    assert [int(base[2]) * int(base[4]) * int(base[5]), base[7], base[9]] == [256, "1000000", "512"]
    for name, line in lines.items():
        assert line[2] == ("8" if "8gpu" in name else "1" if "1gpu" in name else "0")
        assert line[13].startswith("--") and (ROOT / line[1]).is_file()


@pytest.mark.parametrize("corpus", ["cnn_dm", "xsum", "docstrings", "pretraining", "samsum", "dialogsum"])
def test_sourcing_prints_nothing_and_changes_no_shell_option(corpus: str) -> None:
    script = f'before=$-$SHELLOPTS; source "{ROOT}/scripts/params/{corpus}_params.sh"; [[ $-$SHELLOPTS == "$before" ]]'
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert (run.stdout, run.stderr) == ("", "")
