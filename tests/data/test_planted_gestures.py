"""The planted recordings: a simulated arm whose joints follow their commands late and noisily."""

import hashlib
import io
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.data.planted_draws import Draws
from ablate.data.planted_gestures import GESTURES, JOINTS, STEPS, encode_npy, simulate
from ablate.data.planted_text import ATTRIBUTES

gestures = pytest.mark.parametrize("gesture", list(GESTURES))


def standardised(gesture: str, seed: int) -> npt.NDArray[np.float64]:
    """Each channel at mean 0 and variance 1, as encoders see it, float[STEPS, 6]."""
    series = simulate(gesture, Draws(seed, gesture)).astype(np.float64)
    normal: npt.NDArray[np.float64] = (series - series.mean(0)) / series.std(0)
    return normal


def test_there_is_a_gesture_for_each_word_and_a_command_for_each_joint() -> None:
    assert tuple(GESTURES) == ATTRIBUTES["gesture"]
    assert {len(commands) for commands in GESTURES.values()} == {len(JOINTS)}


@given(gesture=st.sampled_from(list(GESTURES)), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_recording_is_finite_within_an_arm_s_reach_and_no_channel_is_constant(
    gesture: str, seed: int
) -> None:
    series = simulate(gesture, Draws(seed, gesture))
    assert series.shape == (STEPS, len(JOINTS))
    assert series.dtype == np.float32
    assert np.abs(series).max() < np.pi
    assert series.std(0).min() > 0.005


@gestures
def test_a_recording_is_read_without_pickle(gesture: str) -> None:
    series = simulate(gesture, Draws(0, gesture))
    read = np.load(io.BytesIO(encode_npy(series)), allow_pickle=False)
    assert read.dtype == np.float32
    assert np.array_equal(read, series)


def test_pushing_and_pulling_move_shoulder_and_elbow_in_opposite_ways() -> None:
    gone = {gesture: np.ptp(standardised(gesture, 0)[[0, -1]], axis=0) for gesture in ("push", "pull")}
    ends = {gesture: standardised(gesture, 0)[-1] for gesture in ("push", "pull")}
    for joint in (JOINTS.index("shoulder"), JOINTS.index("elbow")):
        assert ends["push"][joint] * ends["pull"][joint] < 0
        assert min(gone["push"][joint], gone["pull"][joint]) > 2


def test_shaking_is_faster_than_knocking_and_knocking_than_waving() -> None:
    periods = {
        gesture: np.abs(np.fft.rfft(standardised(gesture, 0)[:, JOINTS.index("elbow")])).argmax()
        for gesture in ("wave", "knock", "shake")
    }
    assert periods == {"wave": 2, "knock": 3, "shake": 4}


def test_two_recordings_of_one_gesture_are_more_alike_than_those_of_two() -> None:
    within = [(standardised(gesture, 1) * standardised(gesture, 2)).mean() for gesture in GESTURES]
    between = [
        (standardised(one, 1) * standardised(other, 2)).mean() for one, other in combinations(GESTURES, 2)
    ]
    assert min(within) > max(between) + 0.15
    assert max(within) < 0.999, "no two recordings are the same"


def test_another_word_is_refused() -> None:
    with pytest.raises(KeyError, match="bow"):
        simulate("bow", Draws(0, "bow"))


def test_the_bytes_are_those_of_every_platform() -> None:
    """Fixed value: a change here changes every world with gestures and must raise GENERATOR."""
    data = b"".join(encode_npy(simulate(gesture, Draws(0, gesture))) for gesture in GESTURES)
    assert hashlib.sha256(data).hexdigest()[:16] == "a9c2f6143521971a"
