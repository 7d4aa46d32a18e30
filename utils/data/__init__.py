"""Read texts, turn them into token ids, and make batches of them."""
