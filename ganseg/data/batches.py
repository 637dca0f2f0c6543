"""Training batches as a pure function of (seed, step), so that a resumed run needs no state of its data."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from ganseg.data.sets import Split
from ganseg.data.synthetic import Draws


class Batches:
    """An endless sequence of batches: permutations of the split, laid end to end and cut into batches.

    `augment`: "none"; "flip", mirrored left-right with probability 1/2; "crop_flip", before that a crop of
    90-100 % of the area with an aspect ratio of 0.9-1.1 (sides clipped to the image's), resized bilinearly.
    `device`: a GPU holds the uint8 images where a quarter of its free memory is enough, and augments them.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, augment: str = "flip", device: torch.device | None = None
    ) -> None:
        self.split, self.batch_size, self.seed, self.augment = split, batch_size, seed, augment
        self.order = lru_cache(3)(self._order)
        resident = device is not None and device.type == "cuda"
        resident = resident and split.images.nbytes < torch.cuda.mem_get_info(device)[0] / 4
        self._images = torch.from_numpy(np.array(split.images)).to(device) if resident else split.images

    def _order(self, epoch: int) -> np.ndarray:
        """(N,) the permutation of an epoch."""
        keys = Draws(f"epoch {epoch}", self.seed, np.arange(len(self.split))).bits(1)[:, 0]
        return np.argsort(keys, kind="stable")

    def indices(self, step: int) -> np.ndarray:
        """(B,) which images the batch of a step holds."""
        places = step * self.batch_size + np.arange(self.batch_size)
        return np.array([self.order(place // len(self.split))[place % len(self.split)] for place in places.tolist()])

    def batch(self, step: int) -> torch.Tensor:
        """(B, 3, S, S) uint8 in channels_last memory, on the device where the images are held there."""
        images = torch.as_tensor(self._images[self.indices(step)]).permute(0, 3, 1, 2)  # (B, S, S, 3) -> (B, 3, S, S)
        draws = Draws(f"augment {step}", self.seed, np.arange(self.batch_size))
        mirrored = draws.chance(0.5)
        if self.augment == "crop_flip":
            return crop(images, *crop_boxes(draws), mirrored)
        if self.augment == "flip":
            chosen = np.flatnonzero(mirrored)
            images[chosen] = images[chosen].flip(3)
        return images


def crop_boxes(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and centres (N, 2) of random crops, as (x, y) in units of the image's side."""
    area, log_ratio = draws.uniform(0.9, 1.0), draws.uniform(np.log(0.9), np.log(1.1))
    sides = np.sqrt(np.stack([area * np.exp(log_ratio), area * np.exp(-log_ratio)], axis=1)).clip(max=1.0)
    return sides, 0.5 + (1.0 - sides) * draws.uniform(-0.5, 0.5, 2)


def crop(images: torch.Tensor, sides: np.ndarray, centres: np.ndarray, mirrored: np.ndarray) -> torch.Tensor:
    """Cut boxes out of (B, 3, S, S) uint8, resize them to S x S bilinearly, mirror some of them."""
    theta = np.zeros((len(images), 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = np.where(mirrored, -sides[:, 0], sides[:, 0]), sides[:, 1]
    theta[:, :, 2] = 2.0 * centres - 1.0
    grid = F.affine_grid(torch.from_numpy(theta).to(images.device), list(images.shape), align_corners=False)
    sampled = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return sampled.round_().clamp_(0, 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)
