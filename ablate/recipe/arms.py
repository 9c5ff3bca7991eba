"""The arms of a study: controls expand here, and shares become rows here."""

import dataclasses
from collections.abc import Mapping
from math import fsum
from typing import Any

from ablate.recipe.schema import (
    Arm,
    Control,
    Match,
    Modality,
    Recipe,
    StreamConfig,
    TrainConfig,
    TunedRecipe,
    without_media,
)

SHARE_TOLERANCE = 1e-9
"""How far the shares of a mixture may be from adding up to 1."""

ROW_TOLERANCE = 1e-5
"""How far share x rows may be from whole: room for shares written with a dozen digits."""


def expand_arms(recipe: Recipe) -> list[Arm]:
    """Every arm in the order of the recipe, each followed by its controls, the baseline by its ladder.

    A control keeps the mixture of the arm it mirrors and is named ``<arm>.<control>``. It keeps the
    media loss too, except where it has no media to regress. A rung of the ladder is the baseline at a
    share of its budget. Both train with the settings of their arm, picked ones included.
    """
    arms: list[Arm] = []
    for name, config in recipe.arms.items():
        train = _own_settings(recipe, name)
        own = Arm(name=name, mixture=dict(config.mixture), media_loss=config.media_loss, train=train)
        arms.append(own)
        for control in config.controls:
            arms.append(
                Arm(
                    name=f"{name}.{control}",
                    mixture=dict(config.mixture),
                    media_loss=_control_media_loss(control, config.media_loss),
                    control=control,
                    mirrors=name,
                    train=train,
                )
            )
        if name == recipe.baseline:
            arms += [
                dataclasses.replace(own, name=ladder_name(name, share), budget_share=share)
                for share in recipe.ladder
            ]
    return arms


def _own_settings(recipe: Recipe, arm: str) -> dict[str, Any]:
    """What an arm of the recipe has otherwise than `train`: what was picked goes over what it states."""
    picks = recipe.picks.get(arm, {}) if isinstance(recipe, TunedRecipe) else {}
    return recipe.arms[arm].train | picks


def arm_train(recipe: Recipe, arm: Arm) -> TrainConfig:
    """How ``arm`` is trained: `train` of the recipe, with what the arm has otherwise."""
    return dataclasses.replace(recipe.train, **arm.train)


def ladder_name(baseline: str, share: float) -> str:
    """What the baseline at ``share`` of its budget is called: `text.x0.5`."""
    # The shortest digits that give the share back: distinct shares have distinct names.
    return f"{baseline}.x{float(share)!r}"


def _control_media_loss(control: Control, media_loss: float) -> float:
    return 0.0 if without_media(control) else media_loss


def stream_encoders(name: str, stream: StreamConfig) -> dict[str, dict[str, Any]]:
    """Encoder settings of each modality of a media stream, under the name that batch, encoder and media
    head share: the stream's own for its modality, `<stream>:<modality>` for further ones."""
    return {name: stream.encoder, **{f"{name}:{modality}": own for modality, own in stream.also.items()}}


def columns_per_microbatch(
    mixture: Mapping[str, float],
    modality: Mapping[str, Modality],
    match: Match,
    microbatch_rows: int,
) -> dict[str, int]:
    """Rows of each stream in one microbatch, text streams first, else in the order of ``mixture``.

    For ``flops`` and ``positions`` media rows replace text rows, and the rows add up to
    ``microbatch_rows``. For ``text_tokens`` the text rows alone add up to ``microbatch_rows``, and media
    rows come on top, in the ratio of the shares. (`load_recipe` puts every mixture into the order of
    the recipe's streams, so all arms agree on the order.)

    Args:
        mixture: stream to its share; the shares are positive and add up to 1.
        modality: stream to its modality.
        match: what the budget holds equal.
        microbatch_rows: rows a device holds at a time, 1 or more.

    Raises:
        ValueError: a stream would not get a whole number of rows, 1 or more (names the nearest
            shares that work), or the shares do not add up to 1.
    """
    if abs(fsum(mixture.values()) - 1) > SHARE_TOLERANCE:
        raise ValueError(f"the shares add up to {fsum(mixture.values()):.12g}, not to 1")
    text = [name for name in mixture if modality[name] == "text"]
    order = text + [name for name in mixture if name not in text]
    if match == "text_tokens" and not text:
        raise ValueError("match: text_tokens needs a text stream in every arm; this mixture has none")
    whole = fsum(mixture[name] for name in text) if match == "text_tokens" else 1.0
    exact = {name: microbatch_rows * mixture[name] / whole for name in order}
    if all(rows >= 0.5 and abs(rows - round(rows)) <= ROW_TOLERANCE for rows in exact.values()):
        return {name: round(rows) for name, rows in exact.items()}
    raise ValueError(_not_whole(exact, text if match == "text_tokens" else order, microbatch_rows))


def _not_whole(exact: Mapping[str, float], filling: list[str], microbatch_rows: int) -> str:
    """Say which streams get broken rows, and the nearest shares that do not.

    ``filling`` names the streams whose rows together fill the microbatch.
    """
    rows = ", ".join(f"{name} {count:.6g}" for name, count in exact.items())
    found = f"a microbatch of {microbatch_rows} rows would hold {rows}: not whole rows"
    if len(filling) > microbatch_rows:
        return f"{found}; {len(filling)} streams need at least {len(filling)} rows in a microbatch"
    near = {name: max(1, round(count)) for name, count in exact.items()}
    near |= _apportion({name: exact[name] for name in filling}, microbatch_rows)
    total = sum(near.values())
    shares = ", ".join(f"{name}: {count / total:.12g}" for name, count in near.items())
    counts = " + ".join(str(count) for count in near.values())
    return f"{found}; the nearest shares that work: {{{shares}}} ({counts} rows)"


def _apportion(exact: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers, 1 or more, nearest to ``exact`` that add up to ``total`` (largest remainders)."""
    near = {name: max(1, int(count)) for name, count in exact.items()}
    while (missing := total - sum(near.values())) != 0:
        if missing > 0:
            name = max(near, key=lambda item: exact[item] - near[item])
            near[name] += 1
        else:
            name = min((item for item in near if near[item] > 1), key=lambda item: exact[item] - near[item])
            near[name] -= 1
    return near
