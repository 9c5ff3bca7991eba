"""The error of everything that reads data."""


class DataError(ValueError):
    """Data that cannot be used; names the file, key or sample, what was found, and what to do."""
