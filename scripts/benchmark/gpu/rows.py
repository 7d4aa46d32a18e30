"""The rows of scripts/benchmark/gpu_acceptance.sh --part: what each part measures, the most valuable first.

Rows that follow each other with the same process share one, because a process takes about ten seconds to start.
"""

from dataclasses import dataclass, field
from typing import Any

PART_SECONDS = 200.0  # what a part may take on an H100 or H200, from a cold start


@dataclass(frozen=True)
class Row:
    """One row of a part's table."""

    name: str
    kind: str  # the function that measures it, module.function of this package
    seconds: int  # expected on an H100, with the start of its process
    settings: dict[str, Any] = field(default_factory=dict)
    process: str = "this project"
    environment: dict[str, str] = field(default_factory=dict)  # of its process
    packages: tuple[str, ...] = ()  # modules without which it is skipped

    def settings_on(self, device: str) -> dict[str, Any]:
        """Return the settings, small ones on the CPU."""
        if device == "cuda":
            return self.settings
        smaller = {**self.settings, **_smaller(self.settings)}
        if self.kind.startswith("training_rows.") and smaller["precision"] == "fp16":
            smaller["precision"] = "bf16"  # the peak in float16, which a training measures, takes a CPU half a minute
        return smaller


def _smaller(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings that replace those of the same names on the CPU."""
    most = {"batch_size": 4, "source_length": 64, "target_length": 16, "documents": 24, "max_tokens": 400}
    most |= {"rounds": 1, "steps_per_round": 1, "warm_ups": 1, "shortest_source": 30, "profiled_steps": 1, "steps": 4}
    smaller: dict[str, Any] = {name: min(most[name], settings[name]) for name in most if name in settings}
    fixed = {"keyword": "kernels", "shape": "small", "vocab_size": 320, "eos_bias": 3.0, "batch_sizes": [2, 4]}
    return smaller | {name: value for name, value in fixed.items() if name in settings}


_TRANSFORMERS: dict[str, Any] = {"process": "transformers", "packages": ("transformers",)}
_TRAINER: dict[str, Any] = {"process": "transformers", "packages": ("transformers", "accelerate")}
_MODEL = {"shape": "large", "vocab_size": 50265, "precision": "bf16"}
_SMALL = {"shape": "small", "vocab_size": 320, "precision": "bf16"}
_XSUM = {"source_length": 1024, "target_length": 60}
_SEARCH = {**_MODEL, "source_length": 1024, "target_length": 62, "beams": 6, "eos_bias": 6.8}  # with start and end
_NATURAL = {"mode": "natural", "documents": 2048, "rounds": 3}
_NO_TRITON, _NO_CUDNN = {"BART_TRITON": "0"}, {"TORCH_CUDNN_SDPA_DEPRIORITIZED": "1"}


def _of_row(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide keywords into those of a row itself and those of its settings."""
    of_row = {name: value for name, value in given.items() if name in ("process", "environment", "packages")}
    return of_row, {name: value for name, value in given.items() if name not in of_row}


def _padded(name: str, seconds: int, batch_size: int = 40, **given: Any) -> Row:
    settings = {**_MODEL, **_XSUM, "batch_size": batch_size, "warm_ups": 3, "rounds": 4, "steps_per_round": 4}
    of_row, given = _of_row(given)
    return Row(name, "training_rows.train", seconds, {**settings, **given}, **of_row)


def _natural(name: str, seconds: int, **given: Any) -> Row:
    of_row, given = _of_row(given)
    settings = {**_MODEL, **_XSUM, **_NATURAL, "max_tokens": 45_000, **given}
    return Row(name, "training_rows.train", seconds, settings, **of_row)


def _search(name: str, seconds: int, **given: Any) -> Row:
    of_row, given = _of_row(given)
    return Row(name, "search_rows.search", seconds, {**_SEARCH, "rounds": 3, **given}, **of_row)


def _greedy(size: int) -> Row:
    work = {"mode": "uniform", "shortest_source": 260, "source_length": 440, "target_length": 129, "beams": 1}
    return _search(f"greedy_tensorrt_llm_{size}", 5, batch_size=size, published="tensorrt_llm", **work)


def _natural_search(name: str, seconds: int, **given: Any) -> Row:
    return _search(name, seconds, **{"mode": "natural", "batch_size": 64, "rounds": 2, **given})


_SMALL_TRAINING = {**_SMALL, "source_length": 64, "target_length": 16, "batch_size": 4, "warm_ups": 1, "rounds": 1}
_SMALL_NATURAL = {**_SMALL_TRAINING, "mode": "natural", "documents": 24, "max_tokens": 400}
_SMALL_SEARCH = {**_SMALL, "source_length": 64, "target_length": 16, "batch_size": 4, "rounds": 1, "beams": 4}
_PEAKS = {**_MODEL, **_XSUM, "batch_sizes": [8, 24, 40]}

PARTS: dict[int, list[Row]] = {
    # Everything once, tiny on a GPU too: what breaks, breaks here.
    0: [
        Row("attention", "attention_rows.attention", 8, {"precisions": ["fp16", "bf16"]}),
        Row("training", "training_rows.train", 4, _SMALL_TRAINING),
        Row("training_natural", "training_rows.train", 2, _SMALL_NATURAL),
        Row("training_fp16", "training_rows.train", 1, {**_SMALL_TRAINING, "precision": "fp16"}),
        Row("beam", "search_rows.search", 3, _SMALL_SEARCH),
        Row("greedy", "search_rows.search", 1, {**_SMALL_SEARCH, "beams": 1}),
        Row("batch_1", "search_rows.search", 1, {**_SMALL_SEARCH, "batch_size": 1}),
        Row("beam_fp16", "search_rows.search", 1, {**_SMALL_SEARCH, "precision": "fp16"}),
        Row("training_without_kernels", "training_rows.train", 1, {**_SMALL_TRAINING, "triton": False}),
        Row("beam_without_kernels", "search_rows.search", 1, {**_SMALL_SEARCH, "triton": False}),
        Row("training_profile", "training_rows.profile_training", 1, {**_SMALL_TRAINING, "profiled_steps": 2}),
        Row("search_profile", "search_rows.profile_search", 1, _SMALL_SEARCH),
        Row("memory", "training_rows.memory", 2, {**_SMALL_TRAINING, "batch_sizes": [2, 4]}),
        Row("finetune", "command_rows.finetune", 12, {"precision": "fp16", "steps": 4}),
    ],
    # The main figures, beside transformers in the same run, and what a step and a search consist of.
    1: [
        _padded("training_padded_40", 45),
        _natural("training_natural", 15),
        _search("beam_6_padded_64", 20, batch_size=64),
        Row("profile_of_search", "search_rows.profile_search", 4, {**_SEARCH, "batch_size": 64}),
        _padded("training_padded_24", 6, batch_size=24),
        Row(
            "profile_of_training", "training_rows.profile_training", 12,
            {**_MODEL, **_XSUM, "batch_size": 40, "profiled_steps": 3},
        ),
        Row(
            "profile_of_natural_training", "training_rows.profile_training", 12,
            {**_MODEL, **_XSUM, **_NATURAL, "max_tokens": 45_000, "profiled_steps": 8},
        ),
        _padded("transformers_training_padded_24", 18, batch_size=24, system="transformers", **_TRAINER),
        _search("transformers_beam_6_padded_64", 12, batch_size=64, rounds=1, system="transformers", **_TRANSFORMERS),
        _natural(
            "transformers_training_grouped_48", 15, system="transformers", sampling="group_by_length", batch_size=48,
            rounds=1, share=0.3, **_TRAINER,
        ),
        _natural(
            "transformers_training_random_48", 15, system="transformers", sampling="random", batch_size=48, rounds=1,
            share=0.3, **_TRAINER,
        ),
    ],
    # What each choice gains, and what memory is needed.
    2: [
        _natural("training_natural_few", 32, batch_shapes="few"),
        _natural("training_natural_exact", 12, batch_shapes="exact"),
        _padded("training_padded_40", 6),
        Row("peak_memory_bf16", "training_rows.memory", 8, _PEAKS),
        _padded("without_triton_padded_40", 16, process="without Triton", environment=_NO_TRITON),
        _natural("without_triton_natural", 10, process="without Triton", environment=_NO_TRITON),
        _padded("compiled_padded_40", 50, compile=True, process="compiled"),
        Row(  # the work of the presets of small cards: see scripts/params/cnn_dm_params.sh
            "largest_batch_15_gb_fp16", "training_rows.largest_batch", 22,
            {**_MODEL, "precision": "fp16", "source_length": 1024, "target_length": 142, "freeze_embeds": True,
             "memory_gb": 15.0, "batch_sizes": [4, 8]},
            process="a T4's kernels", environment={**_NO_TRITON, **_NO_CUDNN},
        ),
        Row(
            "largest_batch_22_gb_bf16", "training_rows.largest_batch", 22,
            {**_MODEL, "source_length": 1024, "target_length": 142, "freeze_embeds": True, "memory_gb": 22.5,
             "batch_sizes": [4, 8]},
            process="an RTX 4090's kernels",
        ),
    ],
    # Searches, the losses, and training without cuDNN's attention.
    3: [
        _natural_search("beam_6_natural_64", 40, documents=512),
        _search("batch_1", 8, batch_size=1, rounds=5),
        _greedy(32),
        _greedy(64),
        _greedy(128),
        _search("beam_6_padded_128", 8, batch_size=128, rounds=2),
        _natural_search(
            "transformers_beam_6_natural_64", 35, documents=256, rounds=1, system="transformers", **_TRANSFORMERS
        ),
        _search("transformers_batch_1", 8, batch_size=1, rounds=3, system="transformers", **_TRANSFORMERS),
        Row("losses", "training_rows.losses", 25, {**_MODEL, **_XSUM, "batch_size": 8}, **_TRAINER),
        _padded("without_cudnn_padded_40", 16, process="without cuDNN", environment=_NO_CUDNN),
        _natural("without_cudnn_natural", 10, process="without cuDNN", environment=_NO_CUDNN),
    ],
    # The main job, and the tests.
    4: [
        Row("job_fp16", "command_rows.job", 58, {"precision": "fp16", "steps": 60}),
        Row("tests", "command_rows.tests", 75, {"keyword": "kernels or precision or one_gpu"}),
        Row("apex", "command_rows.tests", 60, {"keyword": "apex"}, packages=("apex",)),
    ],
}
