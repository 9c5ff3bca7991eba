"""Media that are damaged, absurd, of another kind or hostile: named with shard and key, or counted skips."""

import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_study import (
    KEYS,
    KINDS,
    MediaStudy,
    clip,
    fields,
    opus,
    picture,
    recording,
    saved,
    tone,
    vast_png,
    write_all_media_study,
    write_media_study,
)
from own_study import Ran, places

from ablate.data.decoded import decode
from ablate.data.errors import DataError
from ablate.record import RunRecord, read_record
from encoders.media_spec import AudioSpec, ImageSpec, MediaSpec, SeriesSpec, VideoSpec

Run = Callable[..., Ran]
WAVES = np.sin(np.arange(120.0).reshape(40, 3) / 7).astype(np.float32)
SPECS: dict[str, MediaSpec] = {
    "image": ImageSpec(32),
    "audio": AudioSpec(0.16, 8000, 16, 200, 80),
    "video": VideoSpec(2, 16),
    "sensor": SeriesSpec(32, 3),
}


@pytest.fixture
def study(tmp_path: Path) -> Callable[[str], MediaStudy]:
    """A sound study of a kind of media, for a test to spoil."""
    return lambda kind: write_media_study(tmp_path, kind)


@pytest.fixture
def checked(ablate: Run, cache: Path) -> Run:
    """`ablate check` on a study, with overrides."""
    return lambda found, *overrides: ablate("check", found.recipe, *overrides, "--cache", cache)


def words(text: str) -> str:
    """``text`` without the line breaks and borders of its tables."""
    return " ".join(text.replace("│", " ").split())


def refuses_one(checked: Run, found: MediaStudy, *said: str, among: str = "") -> None:
    """Sample 0003 is named with shard and key; a limit of one makes it a counted skip."""
    ran = checked(found)
    ran.refuses("1 of 12 samples do not decode", "streams.media.max_skips allows 0", "raise the limit")
    (line,) = [line for line in ran.err.splitlines() if line.startswith(f"  {found.shard}: 0003: ")]
    for part in said:
        assert part in line
    allowed = checked(found, "streams.media.max_skips=1")
    assert (allowed.code, allowed.err) == (0, "")
    assert f"12 samples, 12 captions, 1{among} do not decode" in words(allowed.out)


@pytest.mark.parametrize("kind", KINDS)
def test_the_studies_that_are_spoiled_below_are_sound(
    kind: str, study: Callable[[str], MediaStudy], checked: Run
) -> None:
    ran = checked(study(kind))
    assert (ran.code, ran.err) == (0, "")
    assert "12 samples, 12 captions" in ran.out
    assert "do not decode" not in ran.out


# --- Media that are cut short, empty or vast


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.02])
def test_a_truncated_mp4_is_named_with_the_length_it_has_and_should_have(
    kept: float, study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found, whole = study("video"), clip(3)
    cut = whole[: int(kept * len(whole))]
    found.spoil("0003", cut)
    refuses_one(checked, found, f"truncated mp4: {len(cut):,} bytes", "states", "fetch the file again")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_no_bytes_is_called_empty(
    kind: str, study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study(kind)
    found.spoil("0003", b"")
    refuses_one(checked, found, "the file is empty (0 bytes)", "fetch it again or remove the sample")


def test_a_sound_of_no_samples_is_named(study: Callable[[str], MediaStudy], checked: Run) -> None:
    found = study("audio")
    found.spoil("0003", tone(seconds=0))
    refuses_one(checked, found, "the recording has no samples", "remove it")


def test_a_picture_of_900_million_pixels_is_refused_without_being_unpacked(
    study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found, vast = study("image"), vast_png()
    assert len(vast) < 1 << 18
    found.spoil("0003", vast)
    checked(found)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refuses_one(checked, found, "30000x30000 pixels", "1 to 64,000,000 pixels", "resize it")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10, "KiB"


# --- Several media, or none


def test_two_pictures_where_one_is_expected_are_refused_and_not_chosen_from(
    study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("image")
    found.put("0003.jpg", picture(99))
    for limit in (0, 12):
        ran = checked(found, f"streams.media.max_skips={limit}")
        ran.refuses(f"{found.shard}: 0003 has 2 images", "it has .jpg, .png", "keep one in each sample")


def test_a_sample_without_its_medium_is_named_with_what_it_has(
    study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("sensor")
    found.spoil("0003", None)
    checked(found).refuses(f"{found.shard}: 0003 has no sensor (.npy)", "it has .txt")


def test_the_sound_of_a_clip_without_a_sound_track_is_named(
    study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("audio")
    for number, key in enumerate(KEYS):
        found.spoil(key, None)
        found.put(f"{key}.mp4", clip(number, sound=key != "0003"))
    refuses_one(checked, found, "no sound track", "remove the file or use it as video")


def test_the_sound_beside_the_pictures_of_a_clip_is_missed_too(
    study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("video")
    found.rewrite("modality: video", f"modality: video\n    also: {{audio: {KINDS['audio'][2]}}}")
    for number, key in enumerate(KEYS):
        found.spoil(key, clip(number, sound=key != "0003"))
    refuses_one(checked, found, "no sound track", among=" of audio")


# --- Rates and channels that vary within a shard


def test_sounds_of_any_rate_and_number_of_channels_are_mixed_and_resampled_to_the_same(
    study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found, spec = study("audio"), SPECS["audio"]
    expected = decode(tone(3), spec)
    for key, rate_hz, channels in (("0003", 44_100, 2), ("0004", 11_025, 6), ("0005", 48_000, 1)):
        other = tone(3, rate_hz, channels)
        found.spoil(key, other)
        loud = expected > expected.max() - 4
        assert np.abs(decode(other, spec) - expected)[loud].max() < 0.1
    ran = checked(found)
    assert (ran.code, ran.err) == (0, "")
    assert "do not decode" not in ran.out


@pytest.mark.parametrize(("channels", "remedy"), [(2, "set `pad_channels`"), (5, "correct `channels`")])
def test_a_recording_with_other_channels_than_the_recipe_states_is_named(
    channels: int, remedy: str, study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("sensor")
    found.spoil("0003", recording(3, channels=channels))
    refuses_one(checked, found, f"has {channels} channels, the recipe says 3", remedy)
    padded = checked(found, "streams.media.encoder.pad_channels=true")
    assert (padded.code == 0) == (channels < 3)


def test_recordings_of_other_rates_are_refused_until_the_recipe_resamples_them(
    study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("sensor")
    for key in KEYS:
        found.put(f"{key}.json", fields(rate_hz=20 if key == "0003" else 10))
    refuses_one(checked, found, "rate_hz is 20", "has 10", "set the encoder's rate_hz to resample all")
    assert checked(found, "streams.media.encoder.rate_hz=10").code == 0


def test_a_recording_without_a_rate_is_named_where_the_recipe_resamples(
    study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("sensor")
    for key in KEYS:
        if key != "0003":
            found.put(f"{key}.json", fields(rate_hz=10))
    ran = checked(found, "streams.media.encoder.rate_hz=10")
    ran.refuses(f"{found.shard}: 0003: the recording states no rate", "give it `rate_hz` in its .json")


@pytest.mark.parametrize("rate", ["30", True, 0, -3, float("nan"), float("inf"), [30]])
def test_a_rate_that_is_no_number_a_second_is_named(
    rate: object, study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("sensor")
    found.put("0003.json", fields(rate_hz=rate))
    checked(found).refuses(f"{found.shard}: 0003.json: rate_hz is", "write a number a second")


# --- Arrays


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_reading_that_is_not_finite_is_named_by_step_and_channel(
    value: float, study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found, values = study("sensor"), WAVES.copy()
    values[35, 2] = value
    found.spoil("0003", saved(values))
    refuses_one(
        checked, found, f"value {value} at step 35, channel 2", "fill the gaps or remove the recording"
    )


@pytest.mark.parametrize("shape", [(120,), (1, 40, 3), ()])
def test_an_array_of_another_rank_is_named_with_its_shape(
    shape: tuple[int, ...], study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("sensor")
    found.spoil("0003", saved(np.ones(shape, np.float32)))
    refuses_one(checked, found, f"has shape {list(shape)}", "must be [time, channels]", "save it again")


def test_a_header_that_states_an_impossible_shape_is_named(
    study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found, whole = study("sensor"), saved(WAVES)
    found.spoil("0003", whole.replace(b"(40, 3)", b"(-1,-4)"))
    refuses_one(checked, found, "states the shape [-1, -4]", "save the recording with numpy.save")


def test_whole_numbers_are_readings_as_good_as_real_ones(
    study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("sensor")
    counts = (100 * WAVES).astype(np.int16)
    for key, kind in (("0003", np.int16), ("0004", np.int64), ("0005", np.float64)):
        found.spoil(key, saved(counts.astype(kind)))
        as_real = decode(saved(counts.astype(np.float32)), SPECS["sensor"])
        assert np.abs(decode(saved(counts.astype(kind)), SPECS["sensor"]) - as_real).max() < 1e-6
    ran = checked(found)
    assert (ran.code, ran.err) == (0, "")
    assert "do not decode" not in ran.out


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_the_trap_of_these_tests_does_spring(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", ["objects", "fields", "bare"])
def test_a_pickle_in_an_array_is_refused_unread(
    form: str, study: Callable[[str], MediaStudy], checked: Run, ablate: Run, tmp_path: Path
) -> None:
    found, trap = study("sensor"), Trap(tmp_path / "ran")
    objects = np.full((40, 3), trap, dtype=object)
    mixed = np.zeros((40, 3), dtype=[("x", "f4"), ("y", "O")])
    mixed["y"] = trap
    data = {
        "objects": lambda: saved(objects, allow_pickle=True),
        "fields": lambda: saved(mixed, allow_pickle=True),
        "bare": lambda: pickle.dumps(objects),
    }[form]()
    found.spoil("0003", data)
    said = "not a .npy" if form == "bare" else "not numbers"
    refuses_one(checked, found, said, "save the recording")
    inspected = ablate("data", "inspect", found.shard)
    assert inspected.code != 0
    assert said in words(inspected.out)
    assert not (tmp_path / "ran").exists()


# --- Captions


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ([], "'captions' is empty"),
        ([" \n"], "'captions' is empty"),
        (["red", 3], "entry 1 of 'captions' is 3, not a string"),
        (["red", None], "entry 1 of 'captions' is null, not a string"),
        (["red", ["blue"]], "entry 1 of 'captions' is [\"blue\"], not a string"),
        ("red", "'captions' is \"red\", not a list of strings"),
        ({"en": "red"}, '\'captions\' is {"en": "red"}, not a list of strings'),
        (7, "'captions' is 7, not a list of strings"),
    ],
    ids=str,
)
def test_captions_that_are_none_or_no_strings_are_named_and_never_skipped(
    listed: object, said: str, study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study("image")
    found.put("0003.json", fields(captions=listed))
    for limit in (0, 12):
        ran = checked(found, f"streams.media.max_skips={limit}")
        ran.refuses(f"{found.shard}: 0003", said)
        assert "; " in ran.err


def test_captions_that_are_null_are_called_null(study: Callable[[str], MediaStudy], checked: Run) -> None:
    found = study("image")
    found.put("0003.json", fields(captions=None))
    found.put("0003.txt", None)
    checked(found).refuses(
        f"{found.shard}: 0003 has no caption", "'captions' of its .json is null", "add one"
    )


# --- Tars


@pytest.mark.parametrize("kind", KINDS)
def test_a_tar_with_a_damaged_header_is_named_with_the_last_whole_member(
    kind: str, study: Callable[[str], MediaStudy], checked: Run
) -> None:
    found = study(kind)
    names, data = sorted(found.members()), bytearray(found.shard.read_bytes())
    damaged = names.index(f"0005.{found.extension}")
    at = data.index(names[damaged].encode())
    data[at : at + 64] = bytes(range(64))
    found.shard.write_bytes(bytes(data))
    ran = checked(found, "streams.media.max_skips=12")
    last = names[damaged - 1]
    ran.refuses(str(found.shard), f"damaged: no valid header after {last}", "fetch or write it again")


# --- Any cut, and what skips do to a study

WHOLE: dict[str, tuple[str, bytes]] = {
    "png": ("image", picture()),
    "mp4": ("video", clip()),
    "mp4 with sound": ("audio", clip(sound=True)),
    "opus": ("audio", opus()),
    "wav": ("audio", tone()),
    "npy": ("sensor", recording()),
}


@pytest.mark.parametrize("form", WHOLE)
@given(kept=st.floats(0, 1, exclude_max=True), tail=st.binary(max_size=8))
@settings(max_examples=60, deadline=None)
def test_media_cut_anywhere_and_followed_by_anything_are_whole_or_a_data_error(
    form: str, kept: float, tail: bytes
) -> None:
    kind, whole = WHOLE[form]
    cut = whole[: int(kept * len(whole))]
    expected = decode(whole, SPECS[kind])
    for data in (cut, cut + tail):
        try:
            found = decode(data, SPECS[kind])
        except DataError:
            continue
        # What lies behind the last byte that counts may go.
        assert np.array_equal(found, expected)


def test_skips_are_counted_and_move_no_row_no_caption_and_no_flop(
    ablate: Run, cache: Path, tmp_path: Path
) -> None:
    """Three streams, each with a sample that does not decode: all else is as in the study without damage."""
    found = write_all_media_study(tmp_path)
    overrides = [f"streams.{kind}.max_skips=1" for kind in found]

    def trained(name: str) -> RunRecord:
        (tmp_path / name).mkdir()
        command = ["run", tmp_path / "own.yaml", *overrides, *places(tmp_path / name, cache)]
        ran = ablate(*command)
        assert ran.code == 0, ran.err
        return read_record(tmp_path / name / "results/records/media-seed0.json")

    sound = trained("sound")
    for kind, data in (("audio", tone(seconds=0)), ("video", clip(3)[:-40]), ("sensor", saved(WAVES[:, 0]))):
        found[kind].spoil("0003", data)
    refused = ablate("run", tmp_path / "own.yaml", *places(tmp_path, cache))
    refused.refuses("0003", "max_skips allows 0")
    assert not (tmp_path / "results/records").exists() or not list((tmp_path / "results/records").iterdir())
    damaged = trained("damaged")
    decode_skips = {f"{kind}/decode" for kind in found}
    assert decode_skips.isdisjoint(sound.skips)
    assert all(damaged.skips[reason] > 0 for reason in decode_skips)
    assert damaged.pairing == sound.pairing
    assert damaged.resolved["rows"] == sound.resolved["rows"]
    for part in ("steps", "positions", "text_tokens", "caption_tokens", "flops", "scored_positions"):
        assert getattr(damaged.spent, part) == getattr(sound.spent, part), part
    table = (tmp_path / "damaged/results/table.md").read_text(encoding="utf-8")
    assert all(reason in table for reason in decode_skips)
