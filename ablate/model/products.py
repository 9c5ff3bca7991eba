"""Products with fixed weights, as fast as the processor allows.

PyTorch multiplies fp32 matrices on CPU by MKL. oneDNN, which PyTorch carries too and its compiler uses for
frozen models, comes nearer to the processor's peak (on an AMD EPYC with AVX-512 95 to 105 against 78 to 90
GFLOP/s a core): it keeps weights in the order in which they are read, and does what follows a product (an
activation, a product by elements, a sum) before the result leaves the caches. Its operators have no public
name; where they are missing, and on other devices, everything falls back to `torch.nn.functional.linear`.
Both are fp32.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

_ROWS = 1024
"""Rows that oneDNN orders weights for; any number can be multiplied."""


class Product:
    """x W^T for a weight W float[out, in] that does not change any more."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.detach()

    def __call__(self, values: Tensor) -> Tensor:
        """x W^T: float[n, out], for x float[n, in]."""
        return F.linear(values, self.weight)

    def silu(self, values: Tensor) -> Tensor:
        """SiLU of x W^T."""
        return F.silu(self(values))

    def times(self, values: Tensor, other: Tensor) -> Tensor:
        """x W^T times ``other`` float[n, out], element by element."""
        return self(values) * other

    def plus(self, values: Tensor, other: Tensor) -> Tensor:
        """x W^T plus ``other`` float[n, out]."""
        return self(values) + other


class OneDnnProduct(Product):
    """The same by oneDNN, on CPU."""

    def __init__(self, weight: Tensor) -> None:
        self._ops = torch.ops.mkldnn
        self.weight = self._ops._reorder_linear_weight(weight.detach().contiguous(), _ROWS)

    def __call__(self, values: Tensor) -> Tensor:
        found: Tensor = self._ops._linear_pointwise(values, self.weight, None, "none", [], "")
        return found

    def silu(self, values: Tensor) -> Tensor:
        found: Tensor = self._ops._linear_pointwise(values, self.weight, None, "swish", [], "")
        return found

    def times(self, values: Tensor, other: Tensor) -> Tensor:
        found: Tensor = self._ops._linear_pointwise.binary(values, other, self.weight, None, "mul")
        return found

    def plus(self, values: Tensor, other: Tensor) -> Tensor:
        found: Tensor = self._ops._linear_pointwise.binary(values, other, self.weight, None, "add")
        return found


def product(weight: Tensor) -> Product:
    """The fastest product by ``weight`` that this installation has for its device and type."""
    if weight.device.type == "cpu" and weight.dtype == torch.float32 and _has_onednn():
        return OneDnnProduct(weight)
    return Product(weight)


@functools.cache
def _has_onednn() -> bool:
    """Whether oneDNN's operators are there and mean what is expected of them."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    weight, values, other = torch.ones(8, 4), torch.full((2, 4), 0.5), torch.full((2, 8), 3.0)
    plain = Product(weight)
    try:
        fast = OneDnnProduct(weight)
        pairs = [
            (fast(values), plain(values)),
            (fast.silu(values), plain.silu(values)),
            (fast.times(values, other), plain.times(values, other)),
            (fast.plus(values, other), plain.plus(values, other)),
        ]
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(torch.allclose(found, expected) for found, expected in pairs)
