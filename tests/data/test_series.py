"""A recording of sensors becomes numbers of one scale, or an error; nothing in it is ever executed."""

import contextlib
import io
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ablate.data import series
from ablate.data.errors import DataError
from ablate.data.series import decode_series
from encoders.media_spec import SeriesSpec

DRAW = np.random.Generator(np.random.PCG64(0))
WAVES = DRAW.normal(5, 3, (40, 3)).astype(np.float32)


def saved(values: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    np.save(out, values, **options)
    return out.getvalue()


def with_header(header: bytes, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def error_of(data: bytes, spec: SeriesSpec | None = None, rate_hz: float | None = None) -> str:
    with pytest.raises(DataError) as caught:
        decode_series(data, spec or SeriesSpec(16, 3), rate_hz)
    return str(caught.value)


@given(
    arrays.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64]),
        st.tuples(st.integers(1, 30), st.integers(1, 4)),
        elements=st.integers(0, 100),
    ),
    st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_every_channel_of_what_is_kept_has_mean_0_and_variance_1(values, steps):
    found = decode_series(saved(values), SeriesSpec(steps, values.shape[1]), None)
    kept = found[: min(steps, len(values))]
    assert found.shape == (steps, values.shape[1])
    assert found.dtype == np.float32
    assert np.abs(kept.mean(axis=0)).max() < 1e-5
    constant = (values[:steps] == values[:1]).all(axis=0)
    assert np.abs(kept.std(axis=0) - ~constant).max() < 1e-4
    assert not found[len(kept) :].any()


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
@settings(max_examples=40, deadline=None)
def test_units_and_offsets_of_a_sensor_do_not_matter(scale, offset):
    spec = SeriesSpec(40, 3)
    moved = decode_series(saved(WAVES.astype(np.float64) * scale + offset), spec, None)
    assert np.abs(moved - decode_series(saved(WAVES), spec, None)).max() < 1e-4


def test_a_channel_that_never_changes_becomes_zeros():
    for constant in (0.0, 3.3, -1e30, 1e-30):
        values = WAVES.astype(np.float64)
        values[:, 1] = constant
        found = decode_series(saved(values), SeriesSpec(40, 3), None)
        assert not found[:, 1].any()
        assert found[:, 0].any()


def test_normalisation_is_over_what_is_kept_and_not_over_what_is_cut_off():
    longer = np.concatenate([WAVES, np.full((20, 3), 1e6, np.float32)])
    spec = SeriesSpec(40, 3)
    assert (decode_series(saved(longer), spec, None) == decode_series(saved(WAVES), spec, None)).all()


def test_very_large_and_very_small_values_keep_their_shape():
    expected = decode_series(saved(WAVES.astype(np.float64)), SeriesSpec(40, 3), None)
    for scale in (1e300, 1e-300):
        found = decode_series(saved(WAVES.astype(np.float64) * scale), SeriesSpec(40, 3), None)
        assert np.abs(found - expected).max() < 1e-4


def test_fewer_channels_are_filled_with_zeros_only_if_the_recipe_says_so():
    assert "3 channels, the recipe says 5" in error_of(saved(WAVES), SeriesSpec(16, 5))
    found = decode_series(saved(WAVES), SeriesSpec(40, 5, pad_channels=True), None)
    assert not found[:, 3:].any()
    assert (found[:, :3] == decode_series(saved(WAVES), SeriesSpec(40, 3), None)).all()


def test_more_channels_are_refused_even_then():
    for pad in (False, True):
        assert "3 channels, the recipe says 2" in error_of(saved(WAVES), SeriesSpec(16, 2, pad_channels=pad))


def test_resampling_a_straight_line_gives_the_line():
    line = np.stack([np.arange(50.0), -2 * np.arange(50.0)], axis=1)
    for rate in (10.0, 30.0, 7.3, 100.0):
        spec = SeriesSpec(12, 2, rate_hz=20.0)
        found = decode_series(saved(line), spec, rate)
        known = min(12, int(49 / rate * 20.0 + 1e-6) + 1)
        expected = np.arange(known) - (known - 1) / 2
        expected /= expected.std()
        assert np.abs(found[:known, 0] - expected).max() < 1e-5
        assert np.abs(found[:known, 1] + expected).max() < 1e-5
        assert not found[known:].any()


def test_two_recordings_of_one_movement_at_different_rates_become_alike():
    def movement(rate: float) -> np.ndarray:
        seconds = np.arange(int(4 * rate)) / rate
        return np.stack([np.sin(seconds), np.cos(2 * seconds)], axis=1)

    spec = SeriesSpec(60, 2, rate_hz=25.0)
    slow, fast = (decode_series(saved(movement(rate)), spec, rate) for rate in (50.0, 120.0))
    assert np.abs(slow - fast).max() < 0.01


def test_a_recording_at_the_rate_asked_for_is_not_touched():
    asked, free = SeriesSpec(16, 3, rate_hz=30.0), SeriesSpec(16, 3)
    assert (decode_series(saved(WAVES), asked, 30) == decode_series(saved(WAVES), free, None)).all()


@pytest.mark.parametrize("rate", [None, 0.0, -5.0, float("nan"), float("inf")])
def test_a_rate_that_is_missing_or_impossible_is_an_error_where_one_is_needed(rate):
    assert "rate" in error_of(saved(WAVES), SeriesSpec(16, 3, rate_hz=30.0), rate)
    assert decode_series(saved(WAVES), SeriesSpec(16, 3), rate).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(3, 1), (39, 2)])
def test_a_value_that_is_not_finite_is_named_by_step_and_channel_even_behind_the_cut(value, place):
    values = WAVES.copy()
    values[place] = value
    for rate_hz in (0.0, 10.0):
        message = error_of(saved(values), SeriesSpec(8, 3, rate_hz=rate_hz), 30.0)
        assert f"at step {place[0]}, channel {place[1]}" in message


@pytest.mark.parametrize("shape", [(), (7,), (4, 3, 2)])
def test_another_rank_is_refused(shape):
    assert "must be [time, channels]" in error_of(saved(np.zeros(shape, np.float32)))


@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (0, 0)])
def test_a_recording_of_nothing_is_refused(shape):
    assert "nothing in it" in error_of(saved(np.zeros(shape, np.float32)))


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the pickle was opened",)


def test_an_array_of_objects_is_refused_and_its_pickle_never_opened():
    array = np.empty((2, 3), dtype=object)
    array[:] = Bomb()
    assert "not numbers" in error_of(saved(array, allow_pickle=True))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((4, 3), bool),
        np.zeros((4, 3), np.complex64),
        np.zeros((4, 3), "S4"),
        np.zeros((4, 3), "U4"),
        np.zeros((4, 3), "M8[s]"),
        np.zeros((4, 3), [("a", "f4"), ("b", "O")]),
    ],
    ids=str,
)
def test_what_is_not_a_number_is_refused(values):
    assert "not numbers" in error_of(saved(values, allow_pickle=True))


def test_other_files_are_refused():
    archive = io.BytesIO()
    np.savez(archive, WAVES)
    for data in (b"", b"1,2,3\n", archive.getvalue(), pickle.dumps(Bomb())):
        assert "not a .npy" in error_of(data)


@pytest.mark.parametrize("cut", [1, 4, 200, 479])
def test_a_recording_cut_short_is_an_error(cut):
    assert "truncated .npy" in error_of(saved(WAVES)[:-cut])


@pytest.mark.parametrize("length", [6, 7, 8, 9, 10, 30, 100])
def test_a_header_cut_short_is_an_error(length):
    assert "corrupt .npy" in error_of(saved(WAVES)[:length])


def test_more_bytes_than_the_header_states_are_an_error():
    for extra in (1, 480):
        message = error_of(saved(WAVES) + bytes(extra))
        assert f"states 480 bytes of values, {480 + extra} follow" in message
        assert "one array in a file" in message


VAST = "0x" + "f" * 4500
"""A number that Python reads and, for its 5,400 digits, does not print."""


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("(-1, -4)", "states the shape [-1, -4]"),
        ("(4, -3)", "states the shape [4, -3]"),
        ("(True, 4)", "states the shape [True, 4]"),
        ("(False, 4)", "states the shape [False, 4]"),
        ("(1000000000000, 1000)", "states the shape [too many, 1000]"),
        (f"(0, {10**30})", "states the shape [0, too many]"),
        (f"({10**30}, 0)", "states the shape [too many, 0]"),
        (f"({VAST}, {VAST})", "states the shape [too many, too many]"),
        (f"(-{VAST}, 4)", "states the shape [too many, 4]"),
        ("(4.0, 4)", "shape is not valid"),
        ("(None, 4)", "shape is not valid"),
        ("'x'", "shape is not valid"),
        ("(1073741824, 1073741824)", "truncated .npy: its header states 4,611,686,018,427,387,904 bytes"),
        ("(5, 4)", "truncated .npy: its header states 80 bytes of values, 64 follow"),
        ("(3, 4)", "corrupt .npy: its header states 48 bytes of values, 64 follow"),
        ("(0, 4)", "corrupt .npy: its header states 0 bytes of values, 64 follow"),
    ],
    ids=lambda value: value[:24],
)
def test_a_shape_that_lies_is_told_before_anything_is_allocated(shape, said):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    message = error_of(with_header(header, bytes(64)), SeriesSpec(16, 4))
    assert said in message
    assert "; " in message, "what to do"
    assert "save" in message.split("; ")[-1]


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (4, 3), }\n",
        b"(" * 5000,
        b"\xff\xfe",
    ],
)
def test_a_header_that_is_no_description_is_an_error(header):
    assert "corrupt .npy" in error_of(with_header(header, bytes(48)))


@given(
    st.lists(st.integers(-(2**70), 2**70) | st.integers(-3, 20) | st.booleans(), max_size=3).map(tuple),
    st.sampled_from(["<f4", ">i2", "|u1", "|O", "|V8", "<f8"]),
    st.booleans(),
    st.integers(0, 64),
)
@settings(max_examples=200, deadline=None)
def test_any_header_gives_the_shape_asked_for_or_a_data_error_and_nothing_else(
    shape, descr, by_columns, size
):
    header = f"{{'descr': {descr!r}, 'fortran_order': {by_columns}, 'shape': {shape}, }}\n".encode()
    with contextlib.suppress(DataError):
        data = with_header(header, bytes(size))
        assert decode_series(data, SeriesSpec(16, 3, pad_channels=True), None).shape == (16, 3)


def test_a_long_header_is_refused_unread():
    assert "corrupt .npy" in error_of(with_header(b" " * (series.MAX_HEADER + 1), bytes(48)))


def test_a_recording_above_the_limit_is_refused(monkeypatch):
    data = saved(WAVES)
    monkeypatch.setattr(series, "MAX_BYTES", len(data))
    assert decode_series(data, SeriesSpec(16, 3), None).any()
    monkeypatch.setattr(series, "MAX_BYTES", len(data) - 1)
    assert "the limit is" in error_of(data)


def test_big_endian_and_column_order_hold_the_same_values():
    expected = decode_series(saved(WAVES), SeriesSpec(40, 3), None)
    for values in (WAVES.astype(">f4"), np.asfortranarray(WAVES), WAVES.astype(np.float64)):
        assert np.abs(decode_series(saved(values), SeriesSpec(40, 3), None) - expected).max() < 1e-6


@given(place=st.integers(0, 10_000), value=st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_gives_finite_numbers_or_a_data_error_and_nothing_else(place, value):
    data = bytearray(saved(WAVES))
    data[place % len(data)] ^= value
    try:
        found = decode_series(bytes(data), SeriesSpec(16, 3), None)
    except DataError:
        return
    assert found.shape == (16, 3)
    assert np.isfinite(found).all()
