"""Tables and plots of a study, rendered from its records alone."""
