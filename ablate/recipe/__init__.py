"""From YAML to a checked `Recipe` and its arms."""
