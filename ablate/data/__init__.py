"""From files to batches: indexing, tokenising, ordering, packing, mixing, controls."""
