"""How fast text rows come out of a token file, through the whole data path of a step."""

import time
from pathlib import Path

from ablate.bench.measurement import Measurement
from ablate.bench.tokens import draw_tokens
from ablate.data.mixture import Columns, Mixture
from ablate.data.text_rows import TextRows

TOKEN_RATE = 3_000_000.0
"""Text tokens a second that one worker must deliver: what an H100 eats at 6 layers of 384."""


def measure_rows(folder: Path, seconds: float) -> list[Measurement]:
    """Text positions a second of processor time, of finished steps (packed, labelled, digested, as tensors).

    Args:
        folder: an existing folder for the token file.
        seconds: length of each measurement.
    """
    drawn = draw_tokens(folder / "tokens.bin", 40_000_000, 8192)
    found = []
    for length, rows in ((256, 128), (512, 64), (1024, 32)):
        text = TextRows(drawn, length, bos=1, pad=0, seed=0, name="text")
        mixture = Mixture(Columns({"text": rows}, ("text",), 1, "flops"), {"text": text}, {}, length)
        rate = _positions_per_second(mixture, seconds)
        found.append(Measurement(f"text rows of {length}", rate, "positions/s", TOKEN_RATE))
    return found


def _positions_per_second(mixture: Mixture, seconds: float) -> float:
    mixture.step(0)  # the epoch's order is drawn here, once
    began = time.thread_time()
    positions, number = 0, 1
    while time.thread_time() - began < seconds:
        positions += mixture.step(number).counts.positions
        number += 1
    return positions / (time.thread_time() - began)
