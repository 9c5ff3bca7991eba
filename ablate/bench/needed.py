"""FLOPs that a step needs: those of its text and its media, without what padding and masks throw away."""

from ablate.budget.flops import media_head_flops, row_flops
from ablate.data.batch import NO_DOCUMENT, Batch
from ablate.data.mixture import Mixture
from ablate.model.attention import visible
from ablate.model.fusion import FusedModel


def needed_flops(model: FusedModel, mixture: Mixture, steps: int) -> float:
    """FLOPs a step, forward and backward, the mean over the first ``steps``.

    `ablate.budget.flops` counts shapes; this counts the positions that belong to a document, the pairs of
    a query and a key that it may see, and the media that are there.
    """
    total = 0.0
    for number in range(steps):
        for batch in mixture.step(number).microbatches:
            total += _batch_flops(model, batch)
    return total / steps


def _batch_flops(model: FusedModel, batch: Batch) -> float:
    config, length = model.backbone.config, batch.tokens.shape[1]
    row = row_flops(config, model.backbone.vocabulary)
    inside = batch.document != NO_DOCUMENT
    pairs = int((visible(batch.document) & inside[:, None, :, None]).sum())
    total = (row["backbone"].total + row["head"].total) * int(inside.sum()) / length
    total += row["attention"].total * pairs / length**2
    for name, media in batch.media.items():
        encoder = model.encoder(name)
        item = encoder.flops_per_item().total
        if media.features is not None:
            item -= encoder.trunk_flops_per_item().total
        if model.media_loss:
            item += media_head_flops(encoder, config.width).total
        total += item * int(media.present.sum())
    return total
