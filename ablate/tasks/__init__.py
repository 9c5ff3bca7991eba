"""Text tasks: what a finished run is judged by, scored without media."""
