"""The hierarchical generator (section 3, Fig. 2) and the scene it returns."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ganseg.config import GeneratorConfig
from ganseg.image import BackgroundEmbedding, BackgroundGenerator, Composition, ForegroundGenerator
from ganseg.layers import initialise, pixel_grid
from ganseg.masks import MaskGenerator, PointlessMaskGenerator, located
from ganseg.points import PointGenerator, heatmaps


class Noise(NamedTuple):
    """The four independent inputs of the generator."""

    point: Tensor  # z_point, (B, D_noise)
    appearance: Tensor  # z_app, (B, D_noise)
    background: Tensor  # z_bg_app, (B, D_noise)
    position: Tensor  # u_bg_pos, (B, 2), (x, y)


class Scene(NamedTuple):
    """Everything the generator makes on the way to an image."""

    points: Tensor  # x_k^i, (B, K, n_per, 2)
    centres: Tensor  # x_k, (B, K, 2)
    scales: Tensor  # sigma_k, (B, K)
    embeddings: Tensor  # w_k, (B, K, D_emb)
    masks: Tensor  # M, (B, K + 1, H, W), background first
    foreground: Tensor  # F with its margin, (B, D_emb, H + 2m, W + 2m)
    background: Tensor  # B with its margin, (B, D_emb, H + 2m, W + 2m)
    image: Tensor  # I, (B, 3, H, W), about [-1, 1]

    @property
    def labels(self) -> Tensor:
        """The most likely part of each pixel, (B, H, W); 0 is the background."""
        return self.masks.argmax(dim=1)


class Generator(nn.Module):
    r"""$\mathcal G(\mathbf z)$: points, masks, foreground and background, image (Fig. 2)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.point_generator = PointGenerator(config)
        self.mask_generator = initialise((MaskGenerator if config.use_points else PointlessMaskGenerator)(config))
        self.foreground_generator = initialise(ForegroundGenerator(config))
        self.background_generator = (BackgroundGenerator if config.separate_background else BackgroundEmbedding)(config)
        self.composition = initialise(Composition(config))
        self.grid = nn.Buffer(pixel_grid(config.size, 0, config.grid), persistent=False)  # of the image, (H, W, 2)

    def noise(self, batch: int, generator: torch.Generator | None = None) -> Noise:
        """Draw z_point, z_app, z_bg_app ~ N(0, I) and u_bg_pos ~ U([-1, 1]^2) for `batch` images."""
        draw = {"generator": generator, "device": self.grid.device}
        z = [torch.randn(batch, self.config.noise_dim, **draw) for _ in range(3)]
        position = 2 * torch.rand(batch, 2, **draw) - 1
        if self.config.background_shift == "horizontal":
            position[:, 1] = 0
        return Noise(z[0], z[0] if self.config.shared_noise else z[1], z[2], position)

    def forward(self, noise: Noise) -> Scene:
        """Generate one scene for each row of `noise`."""
        parts = self.point_generator(noise.point, noise.appearance)
        masks = self.mask_generator(parts)
        if not self.config.use_points:
            parts = located(parts, masks, self.grid)
        background = self.background_generator(noise.background, noise.position)
        if self.config.separate_background:
            foreground = self.foreground_generator(masks[:, 1:], parts.embeddings, parts.centres)
        else:  # the background is one of the parts, and all of the image is foreground
            embeddings = torch.cat([background[:, None], parts.embeddings], dim=1)
            foreground = background = self.foreground_generator(masks, embeddings, parts.centres)
        return Scene(*parts, masks, foreground, background, self.composition(masks, foreground, background))

    def pairs(self, noise: Noise) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and their labels (B, H, W): the segmentation network's training data."""
        scene = self(noise)
        return scene.image, scene.labels

    def heatmaps(self, scene: Scene) -> Tensor:
        """H_k on the pixels of the image (Eq. 4), (B, K, H, W)."""
        return heatmaps(self.grid, scene.centres, scene.scales, self.config.heatmap)
