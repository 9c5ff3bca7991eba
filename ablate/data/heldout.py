"""Held-out text that also occurs in training is refused."""

from collections.abc import Iterable, Mapping

import numpy as np

from ablate.data.documents import document_digest
from ablate.data.errors import DataError

_SHOWN = 5


def refuse_training_overlap(training: Mapping[str, np.ndarray], heldout: Iterable[tuple[str, str]]) -> None:
    """Check that no held-out text is a training document, whitespace aside.

    Args:
        training: stream name to uint64[documents], the `document_digest` of each training text.
        heldout: label (such as `task:item`) and text of each held-out item.

    Raises:
        DataError: names the first offending items and the streams they occur in.
    """
    labels: list[str] = []
    digests: list[int] = []
    for label, text in heldout:
        labels.append(label)
        digests.append(document_digest(text))
    asked = np.array(digests, dtype=np.uint64)
    found: dict[int, list[str]] = {}
    for stream, known in training.items():
        for item in np.flatnonzero(np.isin(asked, np.asarray(known, dtype=np.uint64))):
            found.setdefault(int(item), []).append(stream)
    if found:
        shown = [f"{labels[item]} (in {', '.join(found[item])})" for item in sorted(found)[:_SHOWN]]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DataError(
            f"{len(found)} of {len(labels)} held-out texts occur in training: {', '.join(shown)}{more}; "
            "remove them from the training files or from the task, or set decontamination.remove=true"
        )
