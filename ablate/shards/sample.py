"""The text of one sample, read without stopping at what is wrong with it."""

import json
from dataclasses import dataclass, field
from typing import Any

from ablate.data.errors import DataError
from ablate.data.sample_text import texts_of
from ablate.data.tar_index import Member, TarIndex

SURROGATES = range(0xD800, 0xE000)
INTERLEAVED = (("texts", "images"), ("text_list", "image_info"))
"""Fields of texts and of images in the two forms of interleaved documents: OBELICS, MMC4."""


@dataclass(frozen=True)
class Failure:
    """A member that cannot be used, and why."""

    member: str
    """KEY.EXTENSION."""
    reason: str


@dataclass
class SampleText:
    """Captions and metadata of one sample."""

    captions: list[str] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    """The object in KEY.json."""
    failures: list[Failure] = field(default_factory=list)
    interleaved: bool = False
    """Whether the captions are the pieces of an interleaved document, in order."""

    @property
    def rate_hz(self) -> float | None:
        """Rate of a sensor recording as KEY.json states it; None if it states none."""
        rate = self.fields.get("rate_hz")
        if isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 < rate < float("inf"):
            return float(rate)
        return None


def read_sample_text(shard: TarIndex, members: list[Member], captions_field: str) -> SampleText:
    """Captions by the rule of `ablate.data.sample_text`: the list in KEY.json, or the pieces of an
    interleaved document there, or KEY.txt.

    A sample without any has an empty list; text that cannot be read is a failure.
    """
    found = SampleText()
    by_extension = {member.extension: member for member in members}
    if "json" in by_extension:
        _read_json(shard, by_extension["json"], found)
    listed = found.fields.get(captions_field)
    if listed is None and any({texts, media} <= found.fields.keys() for texts, media in INTERLEAVED):
        _read_pieces(shard, members, captions_field, found)
        return found
    if listed is None and "txt" in by_extension:
        text = _read_text(shard, by_extension["txt"], found)
        listed = [] if text is None else [text]
    elif listed is not None and not (
        isinstance(listed, list) and all(isinstance(caption, str) for caption in listed)
    ):
        _fail(found, by_extension["json"], f"{captions_field!r} is not a list of strings")
        listed = []
    for caption in listed or []:
        if any(ord(letter) in SURROGATES for letter in caption):
            member = by_extension.get("json") or by_extension["txt"]
            _fail(found, member, "a caption has half a surrogate pair and no UTF-8 form")
        elif caption.strip():
            found.captions.append(caption.strip())
    return found


def _fail(found: SampleText, member: Member, reason: str) -> None:
    found.failures.append(Failure(f"{member.key}.{member.extension}", reason))


def _read_pieces(shard: TarIndex, members: list[Member], captions_field: str, found: SampleText) -> None:
    found.interleaved = True
    try:
        texts = texts_of(shard, members, captions_field, "interleaved").texts
    except DataError as error:
        prefix = f"{shard.source}: {members[0].key}: "
        found.failures.append(Failure(f"{members[0].key}.json", str(error).removeprefix(prefix)))
    else:
        found.captions += [text.strip() for text in texts]


def _read_json(shard: TarIndex, member: Member, found: SampleText) -> None:
    text = _read_text(shard, member, found)
    if text is None:
        return
    try:
        item = json.loads(text)
    except (ValueError, RecursionError) as error:
        _fail(found, member, f"invalid JSON ({error})")
        return
    if isinstance(item, dict):
        found.fields.update(item)
    else:
        _fail(found, member, "not a JSON object")


def _read_text(shard: TarIndex, member: Member, found: SampleText) -> str | None:
    data = shard.read(member)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        _fail(found, member, f"not UTF-8 at byte {error.start}; convert it")
        return None
