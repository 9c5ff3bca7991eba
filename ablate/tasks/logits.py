"""Log-probabilities out of logits, a bounded number at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

_LOGITS = {"cpu": 1 << 21}
"""Most logits normalised at a time, by type of device: on a CPU (8 MiB of fp32) few enough for its caches."""
_LOGITS_ELSEWHERE = 1 << 26


def rows_at_a_time(device: torch.device, vocabulary: int) -> int:
    """How many rows of logits to normalise at a time."""
    return max(1, _LOGITS.get(device.type, _LOGITS_ELSEWHERE) // vocabulary)


def token_values(
    logits: Callable[[int, int], Tensor],
    rows: int,
    chunk: int,
    place: Tensor,
    target: Tensor,
    *,
    ties: float | None,
) -> tuple[list[float], list[float]]:
    """Log-probability of the token ``target`` int64[e] at row ``place`` int64[e], ascending, and with
    ``ties`` its share of the top: 1/k if it is among k tokens whose log-probabilities are within ``ties`` of
    the largest (times its size, where that is over 1), else 0.

    ``logits(start, stop)`` gives float32[stop - start, vocabulary] of rows start to stop of ``rows``, at most
    ``chunk`` at a time.
    """
    values: list[Tensor] = []
    shares: list[Tensor] = []
    starts = torch.arange(0, rows + chunk, chunk).clamp(max=rows)
    bounds = torch.searchsorted(place, starts).tolist()
    for part, start in enumerate(starts[:-1].tolist()):
        found = logits(start, min(start + chunk, rows))
        own_rows = slice(bounds[part], bounds[part + 1])
        row = (place[own_rows] - start).to(found.device)
        normalised = torch.log_softmax(found, dim=-1)
        own = normalised[row, target[own_rows].to(found.device)]
        values.append(own.double())
        if ties is not None:
            shares.append(_top_share(normalised, own, row, ties))
    return torch.cat(values).tolist(), torch.cat(shares).tolist() if shares else []


def _top_share(normalised: Tensor, own: Tensor, row: Tensor, ties: float) -> Tensor:
    """float64[e]: 1/k for log-probabilities ``own`` float32[e] that are among k tied for the largest of their
    ``row`` int64[e] of ``normalised`` float32[n, vocabulary], else 0."""
    top = normalised.amax(dim=-1)
    least = top - ties * top.abs().clamp(min=1.0)
    count = (normalised >= least.unsqueeze(-1)).sum(dim=-1)
    return torch.where(own >= least[row], 1.0 / count[row].double(), 0.0)
