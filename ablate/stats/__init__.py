"""Statistics of paired runs. Works from records alone: nothing here imports torch or a model."""
