"""Made-up minimal pairs of BLiMP's shape: 67 paradigms, sentences of 4 to 12 words, many with one opening."""

import json
from pathlib import Path

import numpy as np

PARADIGMS = 67
GOOD, BAD = "sentence_good", "sentence_bad"
"""BLiMP's own names of the fields (Warstadt et al. 2020)."""
_OPTIONS = (1, 2, 10, 60, 200)
"""Words that a place of a frame may be filled with; which of them is drawn for each place."""


def write_pairs(folder: Path, pairs: int, words: int) -> list[str]:
    """Files of at least ``pairs`` pairs in all, over a lexicon of ``words`` words, one file a paradigm.

    A paradigm is a frame of places, each filled from a few words of its own or from many; the two sentences
    of a pair differ in one word, nearer to the end than to the beginning.
    """
    draw = np.random.Generator(np.random.PCG64(0))
    lexicon = _lexicon(words, draw)
    paths = []
    for number in range(PARADIGMS):
        path = folder / f"paradigm_{number:02d}.jsonl"
        frame = [
            draw.choice(lexicon, min(len(lexicon), int(draw.choice(_OPTIONS))), replace=False)
            for _ in range(draw.integers(4, 13))
        ]
        changed = int(draw.integers(len(frame) // 2, len(frame)))
        rows = (_pair(frame, changed, lexicon, draw) for _ in range(-(-pairs // PARADIGMS)))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        paths.append(str(path))
    return paths


def _lexicon(words: int, draw: np.random.Generator) -> np.ndarray:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    found: dict[str, None] = {}
    while len(found) < words:
        found["".join(draw.choice(letters, draw.integers(3, 10)))] = None
    return np.array(list(found))


def _pair(
    frame: list[np.ndarray], changed: int, lexicon: np.ndarray, draw: np.random.Generator
) -> dict[str, str]:
    good = [str(draw.choice(options)) for options in frame]
    bad = [*good]
    while bad == good:
        bad[changed] = str(draw.choice(lexicon))
    sentences = (" ".join(words).capitalize() + "." for words in (good, bad))
    return dict(zip((GOOD, BAD), sentences, strict=True))
