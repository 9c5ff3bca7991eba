"""Sweeps: one study for each setting, with the mixtures of a design as its arms."""
