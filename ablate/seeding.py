"""Every random stream of a study, seeded by a digest of (seed, its own name).

Because a stream's seed depends on its name alone, building or consuming one stream
never moves another: adding an encoder leaves the backbone's init where it was.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def stream_seed(seed: int, name: str, *parts: int) -> int:
    """The 63-bit seed of the random stream ``name`` in replicate ``seed``.

    ``parts`` are further coordinates, such as the epoch. The digest is BLAKE2b, so it is the same
    on every platform, Python version and process (``hash()`` is not).
    """
    text = "\x1f".join([str(seed), name, *(str(part) for part in parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream_rng(seed: int, name: str, *parts: int) -> np.random.Generator:
    """A NumPy generator for the random stream ``name``; see `stream_seed`."""
    return np.random.Generator(np.random.PCG64(stream_seed(seed, name, *parts)))


@contextmanager
def seeded_init(seed: int, name: str) -> Iterator[None]:
    """Run a block with torch's CPU generator at the stream ``name``; restore it afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, name))
        yield
