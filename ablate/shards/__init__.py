"""Shards seen from outside: what they hold, a page of samples, and packing a folder into new ones."""
