"""The sensor recordings of the planted world: six joint angles of a simulated arm that makes a gesture.

Each joint's servo follows its command with a lag (a discrete first-order system), and the encoders are
noisy. Integer arithmetic throughout: the files are the same on every platform.
"""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ablate.data.planted_draws import AMPLITUDE, TURN, Draws, Integers, sine

STEPS = 32
RATE_HZ = 16
JOINTS = ("base", "shoulder", "elbow", "pitch", "roll", "grip")

_RADIAN = 1 << 12
"""A radian in the unit in which angles are computed."""

_NOISE = 60
"""Largest error of an encoder, in units."""


@dataclass(frozen=True)
class Command:
    """What a joint is told over a recording: it goes ``reach`` away and swings on top of that."""

    reach: int = 0
    """Hundredths of a radian between beginning and end, at constant speed."""
    swing: int = 0
    """Amplitude in hundredths of a radian."""
    swings: int = 1
    """Periods over the recording."""
    quarter: int = 0
    """Phase at the beginning, in quarters of a turn."""


def simulate(gesture: str, draws: Draws) -> npt.NDArray[np.float32]:
    """The angles of `JOINTS` during ``gesture`` in radians, float32[STEPS, 6].

    Rest position, strength, timing, the servos' lag and noise come from ``draws``.

    Raises:
        KeyError: ``gesture`` is none of `GESTURES`.
    """
    strength = draws.between(80, 120)
    late = draws.between(-TURN // 32, TURN // 32)
    lag = draws.between(150, 220)
    angles = np.stack(
        [_follow(_command(joint, strength, late), lag) + _rest(draws) for joint in GESTURES[gesture]], axis=1
    )
    octets = draws.octets(STEPS * len(JOINTS)).astype(np.int64).reshape(STEPS, len(JOINTS))
    noise = octets * (2 * _NOISE) // 255 - _NOISE
    return ((angles + noise) / _RADIAN).astype(np.float32)


def encode_npy(series: npt.NDArray[np.float32]) -> bytes:
    """``series`` as a .npy file, version 1.0, without pickle."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(series), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _command(joint: Command, strength: int, late: int) -> Integers:
    """The commanded angle in units, int64[STEPS]."""
    time = np.arange(STEPS, dtype=np.int64)
    phase = joint.swings * (time * TURN // STEPS + late) + joint.quarter * TURN // 4
    swing = joint.swing * _RADIAN * sine(phase) // AMPLITUDE
    angle: Integers = (joint.reach * _RADIAN * time // STEPS + swing) * strength // 10000
    return angle


def _follow(command: Integers, lag: int) -> Integers:
    """A servo that covers ``lag`` 256ths of what is left at every step."""
    angle, reached = int(command[0]), []
    for wanted in command.tolist():
        angle += (wanted - angle) * lag // 256
        reached.append(angle)
    return np.array(reached, dtype=np.int64)


def _rest(draws: Draws) -> int:
    return draws.between(-_RADIAN // 2, _RADIAN // 2)


def _still() -> Command:
    """A joint that takes no part sways once, a little."""
    return Command(swing=4)


GESTURES: dict[str, tuple[Command, ...]] = {
    "wave": (
        Command(swing=30, swings=2),
        Command(reach=60),
        Command(swing=50, swings=2, quarter=1),
        _still(),
        Command(swing=60, swings=2, quarter=2),
        Command(reach=-30),
    ),
    "push": (
        _still(),
        Command(reach=80),
        Command(reach=-90),
        Command(reach=40),
        _still(),
        Command(reach=-40),
    ),
    "pull": (
        _still(),
        Command(reach=-80),
        Command(reach=90),
        Command(reach=-40),
        _still(),
        Command(reach=60),
    ),
    "lift": (
        _still(),
        Command(reach=90),
        Command(reach=50),
        Command(reach=-70),
        Command(reach=20),
        Command(reach=50),
    ),
    "twist": (
        Command(reach=20),
        _still(),
        _still(),
        Command(swing=20, quarter=1),
        Command(reach=150),
        Command(swing=30, quarter=3),
    ),
    "knock": (
        _still(),
        Command(reach=30),
        Command(swing=40, swings=3),
        Command(swing=60, swings=3, quarter=2),
        Command(swing=10, swings=3, quarter=1),
        _still(),
    ),
    "sweep": (
        Command(reach=-140),
        Command(swing=40),
        Command(swing=50, quarter=2),
        _still(),
        Command(reach=-60),
        Command(reach=-20),
    ),
    "shake": (
        Command(swing=50, swings=4),
        Command(swing=20, swings=4, quarter=2),
        Command(swing=30, swings=4),
        Command(swing=30, swings=4, quarter=1),
        Command(swing=50, swings=4, quarter=3),
        Command(reach=40),
    ),
}
"""Value word to the commands of `JOINTS`."""
