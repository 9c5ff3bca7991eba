"""Where runs are trained; apart from `ablate.train.fit`, so that planning need not import Lightning."""

import torch


def device_type() -> str:
    """`cuda` where there is a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"
