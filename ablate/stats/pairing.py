"""The proof that two runs are a pair."""

from ablate.record import RunRecord

TOLERANCE = 0.01
"""Largest relative difference of the matched quantity within a pair."""

MATCHED = {"flops": "total_flops", "text_tokens": "text_tokens", "positions": "positions"}
"""What `match` holds equal, to the ledger's name for it."""


class PairingError(ValueError):
    """Two runs that are not a pair; says which runs and why."""


def check_pair(treated: RunRecord, reference: RunRecord, match: str) -> None:
    """Prove that two runs are a pair: same seed, data, initial backbone, text rows, and matched budget.

    Data are compared by the digests that both runs recorded: the tokenizer, streams and tasks they share.
    Text rows are compared at every step and row column that both runs recorded.

    Raises:
        PairingError: one of these differs, nothing can be compared, or the matched quantity is off by
            more than 1% of the reference.
    """
    names = f"{treated.arm} and {reference.arm}, seed {treated.seed}"
    if treated.seed != reference.seed:
        raise PairingError(
            f"{treated.arm} and {reference.arm}: seeds {treated.seed} and {reference.seed} differ"
        )
    if treated.identity == reference.identity:
        raise PairingError(f"{names}: one run ({treated.identity[:12]}) under two names, and no pair")
    for key in sorted(treated.data_digests.keys() & reference.data_digests.keys()):
        mine, theirs = treated.data_digests[key], reference.data_digests[key]
        if mine != theirs:
            raise PairingError(f"{names}: digests of {key} differ ({mine[:12]}, {theirs[:12]})")
    first, second = treated.pairing, reference.pairing
    if first.backbone_init != second.backbone_init:
        raise PairingError(
            f"{names}: initial backbones differ ({first.backbone_init[:12]}, {second.backbone_init[:12]})"
        )
    compared = 0
    for step in sorted(first.text_rows.keys() & second.text_rows.keys(), key=_numerically):
        columns, others = first.text_rows[step], second.text_rows[step]
        for column in sorted(columns.keys() & others.keys(), key=_numerically):
            compared += 1
            if columns[column] != others[column]:
                raise PairingError(f"{names}: text rows differ by step {step} in column {column}")
    if compared == 0:
        raise PairingError(f"{names}: no step and row column of text in common, so nothing proves the pair")
    spent, expected = (getattr(run.spent, MATCHED[match]) for run in (treated, reference))
    if abs(spent - expected) > TOLERANCE * expected:
        off = f"{spent / expected - 1:+.2%}" if expected else "from none"
        raise PairingError(
            f"{names}: {match} differ by {off} ({spent:.6g} against {expected:.6g}); allowed 1%"
        )


def _numerically(key: str) -> tuple[int, str]:
    return len(key), key
