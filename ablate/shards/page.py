"""One HTML page of samples that stands alone: media as data: addresses, text escaped, no scripts.

A Content-Security-Policy forbids the browser everything but the page's own style sheet and data: media,
so that a caption that got past the escaping could still load and run nothing.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.data.errors import DataError
from ablate.data.tar_index import Member, TarIndex
from ablate.shards.inspect import chosen_samples
from ablate.shards.plot import channel_plot
from ablate.shards.properties import Properties, examine, kind_of, mime_type, read_series
from ablate.shards.sample import SampleText, read_sample_text
from ablate.whole_file import write_whole

MAX_MEDIA_BYTES = 32 << 20
"""Bytes of media that one page holds, before they grow by a third as base64."""
MAX_CHANNELS = 64
MAX_CAPTIONS = 20
MAX_LETTERS = 4_000
"""Of one caption, or of one sample's metadata."""

_STYLE = """
:root { color-scheme: light dark; --line: #d0d0d0; --soft: #666; --ink: #1b5e9e; --bad: #b00020; }
@media (prefers-color-scheme: dark) {
  :root { --line: #444; --soft: #a0a0a0; --ink: #7ab8f5; --bad: #ff8a80; }
}
body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; }
h2 { font-size: .95rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem; }
article { border: 1px solid var(--line); border-radius: 6px; padding: .8rem; min-width: 0; }
img, video { display: block; max-width: 100%; max-height: 20rem; min-width: 8rem; margin: .3rem 0; }
img { image-rendering: auto; }
audio { width: 100%; }
figure { margin: .3rem 0; }
svg { width: 100%; height: 3rem; display: block; border-bottom: 1px solid var(--line); }
polyline { fill: none; stroke: var(--ink); stroke-width: 1; vector-effect: non-scaling-stroke; }
figcaption, .note, summary { color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
.bad { color: var(--bad); overflow-wrap: anywhere; }
blockquote { margin: .4rem 0; padding-left: .6rem; border-left: 3px solid var(--line);
  overflow-wrap: anywhere; white-space: pre-wrap; unicode-bidi: isolate; }
pre { font-size: .78rem; white-space: pre-wrap; overflow-wrap: anywhere; }
"""

_POLICY = (
    "default-src 'none'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)


@dataclass(frozen=True)
class Page:
    """What a page shows."""

    samples: int
    of: int
    """Samples in the shards."""
    left_out: int
    """Media that decode but did not fit, each named on the page."""


def write_page(
    target: Path,
    shards: Sequence[TarIndex],
    count: int,
    captions_field: str = "captions",
    max_media_bytes: int = MAX_MEDIA_BYTES,
) -> Page:
    """Write a page of ``count`` evenly spaced samples of ``shards`` to ``target``.

    Media are shown as the bytes they are in the shard. Those that do not decode are named with the reason.

    Raises:
        OSError: the page cannot be written.
    """
    cards = _Cards(max_media_bytes)
    articles = [
        cards.article(shard, shard.members(number), captions_field)
        for shard, numbers in zip(shards, chosen_samples(shards, count), strict=True)
        for number in numbers
    ]
    page = Page(len(articles), sum(len(shard) for shard in shards), cards.left_out)
    head = f"{page.samples} of {page.of:,} samples, evenly spaced"
    sources = ", ".join(shard.source.name for shard in shards[:5])
    more = f" and {len(shards) - 5} more" if len(shards) > 5 else ""
    said = f"; media left out beyond {_size(max_media_bytes)}: {page.left_out}" if page.left_out else ""
    document = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{shown(sources)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{shown(sources)}{more}</h1>\n"
        f'<p class="note">{head}{said}</p>\n<main>\n{"".join(articles)}</main>\n</body>\n</html>\n'
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, document)
    return page


def shown(text: str) -> str:
    """``text`` for HTML: escaped, with control characters and halves of surrogate pairs replaced."""
    letters = (
        letter if letter in "\n\t" or (letter >= " " and not "\x7f" <= letter <= "\x9f") else "\ufffd"
        for letter in text
    )
    clean = "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in letters)
    return html.escape(clean, quote=True)


def _cut(text: str) -> str:
    if len(text) <= MAX_LETTERS:
        return shown(text)
    return f"{shown(text[:MAX_LETTERS])}... ({len(text) - MAX_LETTERS:,} more characters)"


def _listed(fields: dict[str, Any]) -> str:
    try:
        return json.dumps(fields, indent=1, ensure_ascii=False)
    except RecursionError:
        return "nested too deeply to be shown"


def _size(size: float) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size / 1024:.1f} KiB"


class _Cards:
    """Samples as articles, within one bound on the bytes of media."""

    def __init__(self, max_media_bytes: int) -> None:
        self._left = max_media_bytes
        self.left_out = 0

    def article(self, shard: TarIndex, members: list[Member], captions_field: str) -> str:
        text = read_sample_text(shard, members, captions_field)
        media = [(kind, member) for member in members if (kind := kind_of(member.extension))]
        parts = [self._medium(shard, kind, member, text) for kind, member in media]
        if not media:
            parts.append('<p class="bad">no medium</p>')
        parts += [f'<blockquote dir="auto">{_cut(one)}</blockquote>' for one in text.captions[:MAX_CAPTIONS]]
        if len(text.captions) > MAX_CAPTIONS:
            parts.append(f'<p class="note">and {len(text.captions) - MAX_CAPTIONS:,} more captions</p>')
        if not text.captions:
            parts.append('<p class="note">no caption</p>')
        parts += [f'<p class="bad">{shown(one.member)}: {shown(one.reason)}</p>' for one in text.failures]
        if text.fields:
            parts.append(
                f"<details><summary>.json</summary><pre>{_cut(_listed(text.fields))}</pre></details>"
            )
        heading = f"<h2>{shown(members[0].key)}</h2>"
        source = f'<p class="note">{shown(shard.source.name)}</p>'
        return f"<article>\n{heading}\n" + "\n".join(parts) + f"\n{source}\n</article>\n"

    def _medium(self, shard: TarIndex, kind: str, member: Member, text: SampleText) -> str:
        data = shard.read(member)
        name = f".{member.extension}, {_size(member.size)}"
        try:
            properties = examine(kind, data, text.rate_hz)
        except DataError as error:
            return f'<p class="bad">{shown(name)}: {shown(str(error))}</p>'
        note = f'<p class="note">{shown(f"{name}, {describe(properties)}")}</p>'
        if kind == "sensor":
            return _plots(data, text) + note
        if len(data) > self._left:
            self.left_out += 1
            return f'<p class="bad">left out: this page holds no more media</p>{note}'
        element = _element(kind, data)
        if element is None:
            return f'<p class="bad">decodes, but a browser does not show it</p>{note}'
        self._left -= len(data)
        return element + note


def _element(kind: str, data: bytes) -> str | None:
    """The element that shows ``data``; its type is told by content and must be of the kind."""
    mime = mime_type(data)
    if mime is None or mime.partition("/")[0] != kind:
        # An mp4 or webm under an audio extension is played as sound.
        if kind != "audio" or mime not in ("video/mp4", "video/webm"):
            return None
        mime = mime.replace("video/", "audio/")
    address = f"data:{mime};base64,{base64.b64encode(data).decode()}"
    if kind == "image":
        return f'<img src="{address}" alt="">'
    return f'<{kind} controls preload="metadata" src="{address}"></{kind}>'


def _plots(data: bytes, text: SampleText) -> str:
    values = read_series(data)
    listed = text.fields.get("channels")
    channels = values.shape[1]
    named = isinstance(listed, list) and len(listed) == channels
    names = [_channel_name(listed[at]) if named and listed else f"channel {at}" for at in range(channels)]
    plots = [channel_plot(values[:, at], names[at]) for at in range(min(channels, MAX_CHANNELS))]
    if channels > MAX_CHANNELS:
        plots.append(f'<p class="note">and {channels - MAX_CHANNELS:,} more channels</p>')
    return "".join(plots)


def _channel_name(name: object) -> str:
    """A channel's name as text of bounded length, not escaped yet."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in str(name)[:80])


def describe(properties: Properties) -> str:
    """Format, size and length of a medium in a few words."""
    numbers = properties.numbers
    words = [properties.format]
    if "width" in numbers:
        words.append(f"{numbers['width']:.0f}x{numbers['height']:.0f} pixels")
    for name, unit in (("frames", "frames"), ("steps", "steps"), ("channels", "channels")):
        if name in numbers:
            words.append(f"{numbers[name]:.0f} {unit}")
    for name, unit in (("seconds", "s"), ("fps", "frames/s"), ("rate_hz", "Hz")):
        if name in numbers:
            words.append(f"{numbers[name]:.5g} {unit}")
    return ", ".join(words)
