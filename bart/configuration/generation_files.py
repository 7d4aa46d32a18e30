"""Reading the search settings of a published folder: they mean the same as in transformers 5, however old they are.

A folder has them in generation_config.json or, before 2023, among the model's settings in config.json. If
generation_config.json exists, the settings in config.json are not read.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from bart.configuration.generation_config import SPECIAL_TOKENS, GenerationConfig, token_list
from bart.errors import printable
from bart.json_files import shown

# Settings of transformers that change an output and are not supported: the values without effect, and the reason or
# what to give instead.
LEFT_OUT: dict[str, tuple[tuple[Any, ...], str]] = {
    "stop_strings": ((None,), "give stopping_criteria"),
    "max_time": ((None,), "give stopping_criteria"),
    "guidance_scale": ((None, 1, 1.0), "it needs a second prompt; give logits_processor"),
    "watermarking_config": ((None,), "give logits_processor"),
    "epsilon_cutoff": ((None, 0, 0.0), "give min_p or typical_p"),
    "eta_cutoff": ((None, 0, 0.0), "give min_p or typical_p"),
    "top_h": ((None,), "give min_p or typical_p"),
    "remove_invalid_values": ((None, False), "scores that are not numbers are an error to be found"),
    "penalty_alpha": ((None, 0, 0.0), "contrastive search is not offered"),
    "dola_layers": ((None,), "contrasting layers is not offered"),
    "constraints": ((None,), "give prefix_allowed_tokens_fn"),
    "force_words_ids": ((None,), "give prefix_allowed_tokens_fn"),
    "token_healing": ((None, False), "it is for models without an encoder"),
}
# Settings of transformers that do not change an output.
WITHOUT_EFFECT = {
    *(
        "use_cache",
        "cache_implementation",
        "cache_config",
        "max_cache_len",
        "return_legacy_cache",
        "prefill_chunk_size",
    ),
    *("output_attentions", "output_hidden_states", "low_memory", "compile_config", "disable_compile"),
    *("is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold"),
    *("assistant_lookbehind", "target_lookbehind", "assistant_early_exit", "assistant_ensemble_weight"),
    *("prompt_lookup_num_tokens", "max_matching_ngram_size", "use_mtp", "speculation_type"),
    *("continuous_batching_config", "transformers_version", "_from_model_config", "_commit_hash"),
}
# Keys of BART's config.json that resemble the name of a search setting.
_OF_THE_MODEL = {"num_labels", "output_past", "min_position_embeddings"}
OLD_FORCED_BOS = "force_bos_token_to_be_generated"


def search_of_folder(model: Mapping[str, Any], search: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return all search settings and special tokens of a folder by name.

    As in transformers, tokens that the file does not name have no default: none is forced, and without ``eos_token_id``
    every output has the greatest length. If the file names no token to start with, which transformers refuses, all
    special tokens come from config.json, or are BART's.

    Args:
        model: content of config.json.
        search: content of generation_config.json; None: there is no such file.
    """
    values = model if search is None else search
    given = {name: value for name, value in values.items() if value is not None}
    settings = {name: given.get(name, default) for name, default in GenerationConfig().search_settings().items()}

    # The special tokens: of this file if it has one to start with, else of config.json.
    tokens = {name: given.get(name) for name in SPECIAL_TOKENS}
    if tokens["decoder_start_token_id"] is None:
        tokens["decoder_start_token_id"] = tokens["bos_token_id"]
    if tokens["decoder_start_token_id"] is None:
        tokens = {name: model[name] for name in SPECIAL_TOKENS if model.get(name) is not None}
    elif tokens["pad_token_id"] is None and tokens["eos_token_id"] is not None:
        tokens["pad_token_id"] = next(iter(token_list(tokens["eos_token_id"])), None)

    # An older name for forcing the first token.
    if (search is None or given.get("_from_model_config")) and given.get(OLD_FORCED_BOS):
        settings["forced_bos_token_id"] = tokens.get("bos_token_id", 0)
    return settings | tokens


def doubtful_settings(values: Mapping[str, Any], *, is_search_alone: bool) -> list[str]:
    """Return a phrase for each search setting of a file that is ignored, though it should change an output.

    Args:
        values: content of the file.
        is_search_alone: whether the file is a generation_config.json; in others an unknown name may be the model's.
    """
    known = {*GenerationConfig.names(), *SPECIAL_TOKENS, *WITHOUT_EFFECT, OLD_FORCED_BOS}
    doubtful = []
    for name, value in values.items():
        if name in LEFT_OUT:
            idle, instead = LEFT_OUT[name]
            if value not in idle:
                doubtful.append(f"{name}={shown(value)} is not supported ({instead})")
        elif name not in known and name not in _OF_THE_MODEL:
            name = printable(name, 60)
            likely = difflib.get_close_matches(name, GenerationConfig.names(), n=1, cutoff=0.85)
            if likely:
                doubtful.append(f"{name} is unknown (did you mean {likely[0]}?)")
            elif is_search_alone:
                doubtful.append(f"{name} is unknown")
    return doubtful
