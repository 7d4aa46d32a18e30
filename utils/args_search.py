"""What --help says of the search settings, whose names and limits are bart.configuration.search_settings'."""

SEARCH_MEANINGS = {
    "max_length": "tokens of a summary at most",
    "min_length": "tokens of a summary at least",
    "num_beams": "summaries followed at once; 1 is greedy search",
    "num_beam_groups": "groups of beams that avoid each other's words",
    "diversity_penalty": "taken from the log probability of a token that an earlier group has just chosen",
    "num_return_sequences": "summaries of each source, at most as many as beams; the first one is scored",
    "length_penalty": "log probabilities are divided by tokens to this power: higher gives longer summaries",
    "early_stopping": "end with as many summaries as beams: true; when better ones are unlikely: false; or never",
    "no_repeat_ngram_size": "tokens of the n-grams that a summary has once at most; 0 is off",
    "encoder_no_repeat_ngram_size": "tokens of the n-grams of the source that a summary must not have; 0 is off",
    "repetition_penalty": "factor against tokens that have occurred; 1 is off",
    "bad_words_ids": "lists of token ids that must not be written",
    "forced_bos_token_id": "token id that each summary begins with",
    "forced_eos_token_id": "token id that a summary of full length ends with",
    "do_sample": "draw tokens by chance instead of taking the likeliest",
    "temperature": "in sampling, what log probabilities are divided by",
    "top_k": "in sampling, draw from so many likeliest tokens; 0 is off",
    "top_p": "in sampling, draw from the likeliest tokens that together have this probability; 1 is off",
}
