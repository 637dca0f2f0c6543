"""Pixel grids with a margin, and the resizing, cropping and padding between them (Eq. 12)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pixel_grid(size: int, margin: int, kind: Literal["cells", "endpoints"] = "cells") -> Tensor:
    """Coordinates (x, y) of the pixels of a `size` x `size` image and a margin around it (Eq. 12).

    `cells`: the image covers [-1, 1]^2 and a pixel sits at the centre of its cell, spacing 2/H0, the margin
    reaching 1 + 2 margin/H0.
    `endpoints`: the released code's linspace(-1, 1, H0), spacing 2/(H0 - 1).
    Returns (size + 2 margin, size + 2 margin, 2), indexed [row, column].
    """
    index = torch.arange(-margin, size + margin, dtype=torch.float64)
    line = (2 * index + 1) / size - 1 if kind == "cells" else 2 * index / (size - 1) - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).float()


def crop(x: Tensor, margin: int) -> Tensor:
    """Drop `margin` pixels at each border; contiguous again in channels_last, which convolutions want."""
    if margin == 0:
        return x
    return x[..., margin:-margin, margin:-margin].contiguous(memory_format=torch.channels_last)


def bilinear_matrix(size: int, target: int) -> Tensor:
    """(target, size): the weights of bilinear resizing of a line, align_corners=False."""
    line = torch.eye(size)[None, :, :, None]  # (1, size, size, 1): one unit vector a channel
    return F.interpolate(line, size=(target, 1), mode="bilinear", align_corners=False)[0, :, :, 0].T.contiguous()


def upsampling_matrix(size: int, margin: int) -> Tensor:
    """(2 size + 2 margin, size + 2 margin): bilinear 2x upsampling, then back to the margin there was (section 3.3)."""
    whole = bilinear_matrix(size + 2 * margin, 2 * (size + 2 * margin))
    return whole[margin : len(whole) - margin].contiguous()


def edge_padding_matrix(size: int, target: int, margin: int) -> Tensor:
    """(target + 2 margin, size): bilinear resizing, the result continued by its border pixels."""
    resized = bilinear_matrix(size, target)
    return torch.cat([resized[:1].expand(margin, -1), resized, resized[-1:].expand(margin, -1)])


def resample(x: Tensor, matrix: Tensor) -> Tensor:
    """Apply `matrix` (H', H) to the rows and the columns of `x` (B, C, H, H) -> (B, C, H', H'), channels_last.

    Resizing, cropping and padding are linear and separable: two matrix products do all three at once.
    """
    matrix = matrix.to(x.dtype)
    rows = matrix @ x.permute(0, 2, 3, 1).flatten(2)  # (B, H', H C)
    both = matrix @ rows.unflatten(2, (x.shape[3], -1))  # (B, H', H', C)
    return both.permute(0, 3, 1, 2)


class Pyramid(nn.Module):
    """The resolutions a level runs through: its pixel grids, and what leads from one to the next (Eq. 12).

    `sizes`: H of each block; `margin`: pixels kept around the image; `grid`: see `pixel_grid`.
    """

    def __init__(self, sizes: tuple[int, ...], margin: int, grid: Literal["cells", "endpoints"]) -> None:
        super().__init__()
        self.sizes, self.margin = sizes, margin
        for size in set(sizes):
            self._constant(f"grid_{size}", pixel_grid(size, margin, grid))
            self._constant(f"up_{size}", upsampling_matrix(size, margin))
            self._constant(f"padded_{size}", edge_padding_matrix(sizes[-1], size, margin))

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def grid(self, size: int) -> Tensor:
        """(size + 2 margin, size + 2 margin, 2) coordinates (x, y)."""
        return getattr(self, f"grid_{size}")

    def climb(self, x: Tensor, i: int) -> Tensor:
        """Bring what block `i` made to the size of block `i + 1`: bilinear 2x upsampling, back to the margin it had."""
        last = i + 1 == len(self.sizes)
        return x if last or self.sizes[i + 1] == self.sizes[i] else resample(x, getattr(self, f"up_{self.sizes[i]}"))

    def with_margin(self, image: Tensor, size: int) -> Tensor:
        """(B, C, H, H) of the last size, resized to `size` and continued into the margin by its border pixels."""
        return resample(image, getattr(self, f"padded_{size}"))

    def image(self, x: Tensor) -> Tensor:
        """Drop the margin."""
        return crop(x, self.margin)
