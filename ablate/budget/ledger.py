"""What a run spends, by component; planned before it and counted during it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ledger:
    """The account of one run. Token and position counts are totals over all steps.

    FLOPs count a multiply-add as two, forward and backward, padding included, attention at full
    length squared whatever the mask (PaLM, Chowdhery et al. 2022, appendix B).
    """

    steps: int
    flops: dict[str, int]
    """Component (`backbone`, `attention`, `head`, `encoder/<stream>`, `media_head/<stream>`) to the
    FLOPs charged. A control is charged for encoders of its arm that it does not run. Under `encoder_cost:
    once` there is `features/<stream>` too: one pass of the frozen trunk over the whole stream, which
    `encoder/<stream>` then leaves out."""
    flops_executed: int
    """FLOPs really run: the charged ones less what a control was charged for and did not run."""
    positions: int
    """All positions, padding included."""
    text_tokens: int
    """Text positions of text streams, beginnings and ends of documents included, padding not."""
    caption_tokens: int
    """Text positions of media streams."""
    media_positions: int
    """Positions filled by encoder outputs; in a `captions_only` control, the slots they would fill."""
    scored_positions: int
    """Text positions that entered the cross-entropy."""
    unique_text_tokens: int
    """Distinct text positions of text streams seen at least once (expected, after the first epoch)."""
    text_epochs: float
    """Passes over the text streams: text tokens seen over text tokens available."""
    parameters: dict[str, int] = field(default_factory=dict)
    """Component (`backbone`, `encoder/<stream>`, `media_head/<stream>`) to trainable parameters."""
    repeated_tokens: int = 0
    """Text positions that a `repeat_text` control read again in the place of media rows."""
    wall_seconds: float = 0.0
    """Seconds of training, without scoring. 0 in a planned ledger that has no estimate."""

    @property
    def total_flops(self) -> int:
        """All FLOPs charged: the quantity that `match: flops` holds equal."""
        return sum(self.flops.values())
