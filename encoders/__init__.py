"""Encoders: media in, tokens of the backbone's width out. This package never imports `ablate`."""
