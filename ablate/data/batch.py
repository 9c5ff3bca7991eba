"""What the model is fed. Shapes are the same at every step of a run."""

from dataclasses import dataclass, field

from torch import Tensor

UNSCORED = -100
"""Label of a position that the cross-entropy leaves out."""

NO_DOCUMENT = -1
"""Document number of padding: padding attends to padding alone, and nothing else attends to it."""


@dataclass(frozen=True)
class MediaBatch:
    """The media of one modality of one stream in one microbatch, with a fixed number of item places."""

    values: Tensor | None
    """float or uint8[items, *spec.shape]: what the encoder reads. Spare places are zero. None where cached
    features stand for it and no loss needs it."""
    slots: Tensor
    """int64[items, tokens_per_item]: the flat position (row * context_length + position) each token
    fills. Spare places point at rows * context_length: one past the end, which fusion drops."""
    before: Tensor
    """int64[items]: the flat position that the first token of each item follows: the last one before it in
    its document that is attended. 0 in spare places."""
    present: Tensor
    """bool[items]: whether the place holds an item."""
    features: Tensor | None = None
    """float[items, tokens_per_item, feature_width]: a frozen trunk's cached features."""


@dataclass(frozen=True)
class Batch:
    """One microbatch.

    A text position is scored when its label is not `UNSCORED`; ``labels[r, t]`` is the token that
    follows position ``t`` in the same document.
    """

    tokens: Tensor
    """int64[rows, context_length]: token ids; the padding id where an encoder output goes."""
    labels: Tensor
    """int64[rows, context_length]."""
    document: Tensor
    """int64[rows, context_length]: which document of its row a position belongs to."""
    position: Tensor
    """int64[rows, context_length]: distance from the document's beginning."""
    media: dict[str, MediaBatch] = field(default_factory=dict)
    """Stream, or `<stream>:<modality>`, to its media; empty for a batch of text, and in a `captions_only`
    control."""
