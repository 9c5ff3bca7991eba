"""The texts of one sample of a shard, and how they stand among its media."""

import json
from dataclasses import dataclass, field
from typing import Any

from ablate.data.documents import missing_field
from ablate.data.errors import DataError
from ablate.data.tar_index import Member, TarIndex
from ablate.recipe.schema import Documents

_LISTS = {"texts": "images", "text_list": "image_info"}
"""Field of the texts to the field of the media: OBELICS (Laurençon et al. 2023), MMC4 (Zhu et al. 2023)."""


@dataclass(frozen=True)
class Texts:
    """What the text members of a sample say."""

    texts: list[str]
    """Captions, or the pieces of an interleaved document in order."""
    fields: dict[str, Any]
    """KEY.json."""
    media: list[str] = field(default_factory=list)
    """Interleaved: names of the media members in order."""
    segments: list[int] = field(default_factory=list)
    """Interleaved: see `ablate.data.media.MediaSamples.segments`."""


def texts_of(shard: TarIndex, members: list[Member], captions_field: str, documents: Documents) -> Texts:
    """The texts of the sample ``members``.

    Raises:
        DataError: names shard and key: no caption, a caption that is no text, invalid JSON, lists of an
            interleaved document that do not fit together.
    """
    by_extension = {member.extension: member for member in members}
    fields = _json(shard, by_extension["json"]) if "json" in by_extension else {}
    if documents == "media_only":
        return Texts([], fields)
    if documents == "interleaved":
        return _interleaved(f"{shard.source}: {members[0].key}", fields)
    return Texts(_captions(shard, members[0].key, by_extension, fields, captions_field), fields)


def _captions(
    shard: TarIndex, key: str, by_extension: dict[str, Member], fields: dict[str, Any], field: str
) -> list[str]:
    listed = fields.get(field)
    if listed is None:
        if "txt" not in by_extension:
            reason = "no .json"
            if field in fields:
                reason = f"{field!r} of its .json is null"
            elif "json" in by_extension:
                reason = f"its .json has {missing_field(field, list(fields))}"
            raise DataError(
                f"{shard.source}: {key} has no caption: no .txt, {reason}; add one or drop the sample"
            )
        listed = [_text(shard, by_extension["txt"])]
        field = "its .txt"
    if not isinstance(listed, list):
        raise DataError(
            f'{shard.source}: {key}: {field!r} is {_shown(listed)}, not a list of strings; write ["..."]'
        )
    for number, caption in enumerate(listed):
        if not isinstance(caption, str):
            raise DataError(
                f"{shard.source}: {key}: entry {number} of {field!r} is {_shown(caption)}, not a string; "
                "correct it or drop the sample"
            )
    captions = [caption.strip() for caption in listed]
    if not captions or not all(captions):
        raise DataError(
            f"{shard.source}: {key}: caption missing: {field!r} is empty; add one or drop the sample"
        )
    for caption in captions:
        _refuse_half_surrogates(f"{shard.source}: {key}", caption)
    return captions


def _shown(value: Any) -> str:
    """``value`` as JSON, its beginning."""
    return json.dumps(value)[:40]


def _refuse_half_surrogates(place: str, text: str) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise DataError(f"{place}: a caption has half a surrogate pair and no UTF-8 form; correct it")


def _interleaved(place: str, fields: dict[str, Any]) -> Texts:
    """An OBELICS document (``texts`` and ``images``, of which one is null at each place) or an MMC4 one
    (``text_list``, and ``image_info`` with ``image_name`` and ``matched_text_index``: the image comes
    before the text it matches).

    A blank text counts as none. Where two texts follow one another without white space at the seam, a space
    parts them: MMC4 lists sentences."""
    text_field = next((name for name in _LISTS if name in fields), None)
    if text_field is None or _LISTS[text_field] not in fields:
        pairs = " or ".join(f"`{texts}` and `{media}`" for texts, media in _LISTS.items())
        raise DataError(f"{place}: its .json is no interleaved document; it needs the lists {pairs}")
    texts, media = fields[text_field], fields[_LISTS[text_field]]
    if not isinstance(texts, list) or not isinstance(media, list):
        raise DataError(f"{place}: `{text_field}` and `{_LISTS[text_field]}` must be lists")
    sequence = _obelics(place, texts, media) if text_field == "texts" else _mmc4(place, texts, media)
    found = Texts([], fields)
    for kind, value in sequence:
        if kind == "text":
            _refuse_half_surrogates(place, value)
            follows_text = bool(found.segments) and found.segments[-1] >= 0
            if follows_text and not (found.texts[-1][-1].isspace() or value[0].isspace()):
                value = f" {value}"
            found.segments.append(len(found.texts))
            found.texts.append(value)
        else:
            found.media.append(value)
            found.segments.append(-len(found.media))
    if not found.texts or not found.media:
        raise DataError(f"{place}: an interleaved document needs a text and a medium, this one lacks one")
    return found


def _obelics(place: str, texts: list[Any], images: list[Any]) -> list[tuple[str, str]]:
    if len(texts) != len(images):
        raise DataError(f"{place}: `texts` has {len(texts)} and `images` {len(images)} entries")
    sequence: list[tuple[str, str]] = []
    for number, (text, image) in enumerate(zip(texts, images, strict=True)):
        if isinstance(text, str) and not text.strip():
            if image is None:
                continue
            text = None
        if (text is None) == (image is None) or not isinstance(image if text is None else text, str):
            raise DataError(f"{place}: entry {number} of `texts` and `images`: one a string, one null")
        sequence.append(("text", text) if text is not None else ("media", image))
    return sequence


def _mmc4(place: str, texts: list[Any], images: list[Any]) -> list[tuple[str, str]]:
    before: dict[int, list[str]] = {}
    for number, info in enumerate(images):
        name = info.get("image_name") if isinstance(info, dict) else None
        index = info.get("matched_text_index") if isinstance(info, dict) else None
        if not isinstance(name, str) or not isinstance(index, int) or not 0 <= index < len(texts):
            raise DataError(
                f"{place}: entry {number} of `image_info` needs `image_name`, a string, and "
                f"`matched_text_index`, 0 to {len(texts) - 1}"
            )
        before.setdefault(index, []).append(name)
    sequence: list[tuple[str, str]] = []
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{place}: entry {number} of `text_list` is not a string")
        sequence += [("media", name) for name in before.get(number, [])]
        if text.strip():
            sequence.append(("text", text))
    return sequence


def _json(shard: TarIndex, member: Member) -> dict[str, Any]:
    try:
        item = json.loads(_text(shard, member))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{shard.source}: {member.key}.json: invalid JSON ({error}); write it again"
        ) from error
    if not isinstance(item, dict):
        raise DataError(
            f"{shard.source}: {member.key}.json: not a JSON object but {_shown(item)}; write {{...}}"
        )
    return item


def _text(shard: TarIndex, member: Member) -> str:
    data = shard.read(member)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{shard.source}: {member.key}.{member.extension}: not UTF-8 at byte {error.start} "
            f"({data[error.start : error.start + 1]!r}); convert it"
        ) from error
