"""Made-up media for benchmarks: sizes like real ones, contents that mean nothing."""

import io

import numpy as np

RECORDING_SECONDS = 4.0
RECORDING_RATE_HZ = 16_000
CLIP_FRAMES = 16
CLIP_SIZE = 96


def pictures(count: int, size: int) -> list[bytes]:
    """JPEGs of smooth colours with some detail, about 2 kB each at 64 pixels a side, as photographs have."""
    from PIL import Image

    draw = np.random.Generator(np.random.PCG64(0))
    made = []
    for _ in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(smooth + draw.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(noisy).save(out, "JPEG", quality=85)
        made.append(out.getvalue())
    return made


def recording(seed: int) -> bytes:
    """An Ogg Opus of a chord that swells and fades over noise, about 3 kB a second."""
    import av

    draw = np.random.Generator(np.random.PCG64(seed))
    time_s = np.arange(int(RECORDING_SECONDS * RECORDING_RATE_HZ)) / RECORDING_RATE_HZ
    pitches = draw.uniform(100, 3000, 4)
    wave = sum(np.sin(2 * np.pi * pitch * time_s) * (1 + np.sin(pitch * time_s / 99)) for pitch in pitches)
    wave = 0.1 * wave + draw.normal(0, 0.02, len(time_s))
    out = io.BytesIO()
    with av.open(out, "w", format="ogg") as sink:
        stream = sink.add_stream("libopus", rate=RECORDING_RATE_HZ, layout="mono")
        stream.bit_rate = 24_000
        size = stream.codec_context.frame_size or 320
        for start in range(0, len(wave), size):
            part = (wave[None, start : start + size] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RECORDING_RATE_HZ, start
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return out.getvalue()


def clip(seed: int) -> bytes:
    """An H.264 mp4 of a square that moves over soft colours with some noise."""
    import av
    from PIL import Image

    draw = np.random.Generator(np.random.PCG64(seed))
    coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    ground = np.asarray(coarse.resize((CLIP_SIZE, CLIP_SIZE), Image.Resampling.BICUBIC), dtype=np.int16)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as sink:
        stream = sink.add_stream("libx264", rate=10, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = CLIP_SIZE, CLIP_SIZE, "yuv420p"
        stream.thread_count = 1
        for number in range(CLIP_FRAMES):
            pixels = ground + draw.normal(0, 4, ground.shape)
            at = number * (CLIP_SIZE - 24) // CLIP_FRAMES
            pixels[at : at + 24, 30:54] = 255
            frame = av.VideoFrame.from_ndarray(np.clip(pixels, 0, 255).astype(np.uint8), format="rgb24")
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return out.getvalue()


def series(seed: int, steps: int, channels: int) -> bytes:
    """A sensor recording float32[steps, channels] of random walks, as .npy."""
    draw = np.random.Generator(np.random.PCG64(seed))
    out = io.BytesIO()
    np.save(out, draw.normal(0, 1, (steps, channels)).cumsum(axis=0).astype(np.float32))
    return out.getvalue()
