"""The media of the planted world with their captions, as img2dataset lays out a shard."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from ablate.data.planted_draws import Draws
from ablate.data.planted_entities import Entity, stated_in_captions
from ablate.data.planted_gestures import RATE_HZ, encode_npy, simulate
from ablate.data.planted_motion import encode_mp4, render_clip
from ablate.data.planted_pictures import Look, encode_png, render
from ablate.data.planted_sounds import encode_wav, synthesize
from ablate.data.planted_text import ATTRIBUTE_CAPTIONS, NAMING_CAPTIONS, expand
from ablate.recipe.schema import PlantedConfig

NAMING_SHARE = (1, 2)
"""Share of an item's captions that name the entity, as a fraction; the others state an attribute. Names
are as many as entities and attribute values are few, so names need most of the captions."""


@dataclass(frozen=True)
class _Medium:
    shard: str
    extension: str
    stream: str
    """Name of the random stream that items are drawn from."""
    captions: str
    """Name of the random stream that captions are drawn from."""
    make: Callable[[PlantedConfig, Mapping[str, str], Draws], bytes]
    """The bytes of an item that shows some values."""
    fields: dict[str, float] = field(default_factory=dict)
    """What KEY.json says beside the captions."""


def _picture(config: PlantedConfig, values: Mapping[str, str], draws: Draws) -> bytes:
    look = Look(values["colour"], values["shape"], values["pattern"], values["place"])
    return encode_png(render(look, config.image_size, draws))


def _sound(config: PlantedConfig, values: Mapping[str, str], draws: Draws) -> bytes:
    return encode_wav(synthesize(values["sound"], draws))


def _clip(config: PlantedConfig, values: Mapping[str, str], draws: Draws) -> bytes:
    return encode_mp4(render_clip(values["motion"], draws))


def _gesture(config: PlantedConfig, values: Mapping[str, str], draws: Draws) -> bytes:
    return encode_npy(simulate(values["gesture"], draws))


_MEDIA = {
    "image": _Medium("pictures-000.tar", "png", "planted/picture", "planted/captions", _picture),
    "audio": _Medium("sounds-000.tar", "wav", "planted/sound", "planted/captions/audio", _sound),
    "video": _Medium("clips-000.tar", "mp4", "planted/clip", "planted/captions/video", _clip),
    "sensor": _Medium(
        "gestures-000.tar",
        "npy",
        "planted/gesture",
        "planted/captions/sensor",
        _gesture,
        {"rate_hz": RATE_HZ},
    ),
}


def write_shard(config: PlantedConfig, modality: str, entities: list[Entity], folder: Path) -> None:
    """Write the items of ``modality``, some of every entity, into a shard in ``folder``.

    One tar member after another in the order of keys, with no time, owner or machine in it.
    """
    medium = _MEDIA[modality]
    digits = len(str(config.images_per_entity - 1))
    with tarfile.open(folder / medium.shard, "w", format=tarfile.USTAR_FORMAT) as tar:
        for entity in entities:
            for number in range(config.images_per_entity):
                key = f"{entity.key}-{number:0{digits}d}"
                item = medium.make(config, entity.values, Draws(config.world_seed, f"{medium.stream}/{key}"))
                draws = Draws(config.world_seed, f"{medium.captions}/{key}")
                captions = make_captions(config, entity, modality, draws)
                described = {"captions": captions, **medium.fields}
                _add(tar, f"{key}.{medium.extension}", item)
                _add(tar, f"{key}.txt", captions[0].encode())
                _add(tar, f"{key}.json", json.dumps(described).encode())


def make_captions(config: PlantedConfig, entity: Entity, modality: str, draws: Draws) -> list[str]:
    """The captions of one item in random order: some name the entity, the others state an attribute.
    Wordings repeat only where there are more captions than wordings."""
    count = config.captions_per_image
    above, below = NAMING_SHARE
    naming = min(count - 1, max(1, (count * above + draws.below(below)) // below))
    captions = [
        expand(wording, draws, {"name": entity.name})
        for wording in islice(cycle(draws.shuffled(NAMING_CAPTIONS[modality])), naming)
    ]
    weights = stated_in_captions(config, modality)
    decks = {attribute: cycle(draws.shuffled(ATTRIBUTE_CAPTIONS[attribute])) for attribute in weights}
    urn = [attribute for attribute, weight in weights.items() for _ in range(weight)]
    for _ in range(count - naming):
        attribute = draws.pick(urn)
        captions.append(expand(next(decks[attribute]), draws, {"value": entity.values[attribute]}))
    return draws.shuffled(captions)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, mode is 0644
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
