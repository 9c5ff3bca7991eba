"""Media samples without some of their captions."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablate.data.content import digest_of, write_once
from ablate.data.media import MediaItems, MediaSamples

_FORMAT = "media-without-1"


def samples_without(samples: MediaSamples, removed: Collection[tuple[int, int]], cache: Path) -> MediaSamples:
    """``samples`` without the captions ``removed``, (sample, caption of it) each.

    A sample that has no caption left goes with its media, and of interleaved documents the whole document;
    one sample at least has to stay. The cached index is written anew; shards are not.
    """
    if not removed:
        return samples
    gone = np.array(sorted(removed), dtype=np.int64)
    texts = np.ones(int(samples.first[-1]), dtype=bool)
    if samples.interleaved:
        for sample in gone[:, 0].tolist():
            texts[samples.first[sample] : samples.first[sample + 1]] = False
    else:
        texts[samples.first[gone[:, 0]] + gone[:, 1]] = False
    # Every sample with text has one at least, so no stretch of these is empty.
    left = np.add.reduceat(texts.astype(np.int64), samples.first[:-1])
    digest = digest_of(_FORMAT, samples.digest, gone.tobytes().hex())
    folder = cache / "media" / digest
    write_once(folder, lambda partial: _write(samples, np.flatnonzero(left), texts, partial))
    return samples.kept_in(folder, digest)


def _write(samples: MediaSamples, kept: NDArray[np.int64], texts: NDArray[np.bool_], folder: Path) -> None:
    """The index of the samples ``kept`` as `MediaSamples` reads it.

    Args:
        texts: bool[texts]: whether each text stays.
    """
    folder.mkdir()
    first, offsets, segments = [0], [0], [0]
    with (folder / "texts.bin").open("wb") as out:
        for sample in kept.tolist():
            stays = texts[samples.first[sample] : samples.first[sample + 1]]
            for text, stay in zip(samples.texts(sample), stays, strict=True):
                if stay:
                    offsets.append(offsets[-1] + out.write(text.encode()))
            first.append(len(offsets) - 1)
            segments.append(segments[-1] + len(_segments(samples, sample)))
    arrays = {
        "kept": samples.in_shards[kept],
        "first": first,
        "text_offset": offsets,
        "segment_first": segments,
        "segments": np.concatenate([_segments(samples, sample) for sample in kept.tolist()]),
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(values, dtype=np.int64))
    for kind, items in samples.items.items():
        stays = np.isin(items.sample, kept)
        for name in MediaItems.__annotations__:
            values = getattr(items, name)[stays]
            renumbered = np.searchsorted(kept, values) if name == "sample" else values
            np.save(folder / f"{kind}-{name}.npy", renumbered)


def _segments(samples: MediaSamples, sample: int) -> NDArray[np.int64]:
    own: NDArray[np.int64] = samples.segments[
        samples.segment_first[sample] : samples.segment_first[sample + 1]
    ]
    return own
