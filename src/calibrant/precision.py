"""Modules whose double-precision state survives a cast of the network that they are part of."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class KeepsDouble(nn.Module):
    """A module that moves with its network and is not cast with it where its state is float64.

    What is summed over a data set, or fitted by bisection, is lost in half precision: `.half()`, `.bfloat16()`
    and `.float()` leave such buffers as they are. Its forward casts to the type of what it is given.

    Example:
        >>> class Sum(KeepsDouble):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.register_buffer("total", torch.zeros(1, dtype=torch.float64))
        >>> Sum().half().total.dtype
        torch.float64
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def moved(tensor: Tensor) -> Tensor:
            cast = fn(tensor)
            return tensor.to(cast.device) if tensor.dtype == torch.float64 != cast.dtype else cast

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self
