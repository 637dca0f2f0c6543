"""Beyond the paper: what makes training stable and content with few images. `PlusConfig` switches each piece on.

Everything here is a function of tensors on their device, and of draws from U(0, 1) that the caller seeds.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from ganseg.config import PlusConfig

AUGMENT_DRAWS, PHOTOMETRIC_DRAWS, GEOMETRIC_DRAWS = 10, 8, 4  # uniform numbers that an image takes
SHIFT, CUTOUT = 1 / 8, 1 / 2  # largest translation and side of the hole, over the image's side
TURN, ZOOM = math.pi / 6, math.sqrt(2)  # largest angle and factor of a geometric change
RATE = 1 / 200  # by which an adaptive probability follows D's sign: 0 to 1 in 500 steps, D being sure of real images
DEAD = 0.1  # of an even share of the foreground: a part with less is starved
GAIN = 1.4  # a balanced weight is changed by a factor of 4 at most, either way


def recolour(images: Tensor, draws: Tensor) -> Tensor:
    """`images` (B, 3, H, W) in [-1, 1] with other brightness (up to +-0.5), saturation (a factor of 0 to 2) and
    contrast (0.5 to 1.5); `draws` (B, 3) in [0, 1), 0.5 changes nothing. Source: Zhao et al. (2020)."""
    brightness, saturation, contrast = draws[..., None, None, None].unbind(1)  # (B, 1, 1, 1)
    images = images + (brightness - 0.5)
    images = torch.lerp(images.mean(dim=1, keepdim=True), images, 2 * saturation)
    return torch.lerp(images.mean(dim=(1, 2, 3), keepdim=True), images, 0.5 + contrast)


def shift_matrix(draws: Tensor, size: int) -> Tensor:
    """(B, size, size) matrices that move a vector of `size` by round((2 draw - 1) SHIFT size) places, zeros moving in.

    A product can be differentiated twice and has no order of summation to vary, unlike a gather.
    """
    index = torch.arange(size, device=draws.device)
    moved = index[:, None] - ((2 * draws - 1) * SHIFT * size).round()[:, None, None]
    return (moved == index).to(draws.dtype)


def hole(draws: Tensor, size: int) -> Tensor:
    """(B, 1, size, size), True in a square of side CUTOUT with its centre (y, x) at `draws` (B, 2), clipped."""
    line = (torch.arange(size, device=draws.device) + 0.5) / size
    y, x = ((line - draws[..., None]).abs() < CUTOUT / 2).unbind(1)  # (B, size)
    return (y[:, :, None] & x[:, None, :])[:, None]


def augment(images: Tensor, draws: Tensor, probability: Tensor | float) -> Tensor:
    r"""$T(\mathbf x)$, what D sees of real and generated images alike: colours, a translation and a hole, each with
    `probability`. Differentiable twice, as a penalty on $\nabla_{\mathbf x} \mathcal D(T(\mathbf x))$ needs.

    `images` (B, 3, H, W) in [-1, 1], `draws` (B, AUGMENT_DRAWS). Source: Zhao et al. (2020), who have probability 1.
    """
    colours, shifts, centres, chance = draws.split((3, 2, 2, 3), dim=1)
    coloured, shifted, cut = (chance < probability)[..., None].unbind(1)  # (B, 1)
    images = recolour(images, colours.where(coloured, 0.5))
    down, right = (shift_matrix(draw, images.shape[-1])[:, None] for draw in shifts.where(shifted, 0.5).unbind(1))
    images = down @ images @ right.mT
    return images.masked_fill(hole(centres, images.shape[-1]) & cut[..., None, None], 0.0)


class Augmentation(nn.Module):
    r"""A probability for `augment` that may adapt: $p \leftarrow [p + \eta (\mathbb E \operatorname{sign}
    \mathcal D(T(\mathbf x)) - r)]_0^1$ with $\eta$ = RATE. It grows while D is surer of real images than r, as it
    gets when it knows them by heart.

    `config.adaptive`: r; `config.augment`: p at the start. Source: Karras et al. (2020), who move p by the sign of this
    difference over several batches; in proportion to it a small batch's noise averages out.
    """

    def __init__(self, config: PlusConfig) -> None:
        super().__init__()
        self.target = config.adaptive
        self.register_buffer("probability", torch.tensor(config.augment))

    @torch.no_grad()
    def adapt(self, sign: Tensor) -> Tensor:
        """`sign` (): the mean sign of D's logits at real images. Moves p by a step and returns it."""
        self.probability.add_(RATE * (sign - self.target)).clamp_(0, 1)
        return self.probability.clone()


def photometric(images: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Photographs' variety for generated pairs: `recolour`, channels shifted up to +-0.2, blur and noise; at `strength`
    1, and less below. Nothing moves, so that labels stay.

    `images` (B, 3, H, W) in [-1, 1], `draws` (B, PHOTOMETRIC_DRAWS) -> the same shape, in [-1, 1].
    """
    colours, channels, blur, noise = draws[..., None, None].split((3, 3, 1, 1), dim=1)
    images = recolour(images, torch.lerp(torch.full_like(draws[:, :3], 0.5), draws[:, :3], strength))
    images = images + 0.4 * strength * (channels - 0.5)
    images = torch.lerp(images, gaussian_blur(images, [5, 5], [1.0, 1.0]), strength * blur)
    return (images + 0.15 * strength * noise * torch.randn_like(images)).clamp(-1, 1)


def turn_hues(images: Tensor, draws: Tensor, share: float) -> Tensor:
    """`images` (B, 3, H, W) in [-1, 1], their colours turned about the axis of greys by up to `share` / 2 of a turn;
    `draws` (B, 1), 0.5 changes nothing. So an object is found whose colour G hardly paints.

    Source: Chen et al. (2020), who vary hues for features that look past colour.
    """
    angle = (math.tau * share * (draws - 0.5))[..., None, None]
    grey = images.mean(dim=1, keepdim=True)
    across = (images.roll(-1, dims=1) - images.roll(1, dims=1)) / math.sqrt(3)  # a quarter of a turn on
    return (grey + (images - grey) * angle.cos() + across * angle.sin()).clamp(-1, 1)


def geometric(images: Tensor, labels: Tensor, draws: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Images and their labels turned by up to +-TURN, zoomed by a factor of 1 / ZOOM to ZOOM and shifted by up to
    +-SHIFT, alike, at `strength` 1, and less below; what moves in from outside is a mirror image. Source: Ronneberger
    et al. (2015).

    `images` (B, 3, H, W), `labels` (B, H, W), `draws` (B, GEOMETRIC_DRAWS), 0.5 changes nothing -> the same shapes.
    """
    turn, zoom, right, down = (strength * (2 * draws - 1))[..., None, None].unbind(1)  # (B, 1, 1)
    line = (torch.arange(images.shape[-1], device=images.device) + 0.5) * 2 / images.shape[-1] - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    cos, sin = (wave(TURN * turn) * ZOOM**zoom for wave in (torch.cos, torch.sin))
    places = torch.stack([cos * x - sin * y + 2 * SHIFT * right, sin * x + cos * y + 2 * SHIFT * down], dim=-1)
    moved = [
        F.grid_sample(values.float(), places, mode, "reflection", align_corners=False)
        for values, mode in ((images, "bilinear"), (labels[:, None], "nearest"))
    ]
    return moved[0], moved[1][:, 0].to(labels.dtype)


def varied(
    images: Tensor, labels: Tensor, config: PlusConfig, strength: float, draw: Callable[[int, int], Tensor]
) -> tuple[Tensor, Tensor]:
    """`images` (B, 3, H, W) and `labels` (B, H, W) of stage 2 with what `config` changes of them, light and channels at
    `strength`; `draw(B, n)`: (B, n) numbers from U(0, 1)."""
    if config.geometric:
        images, labels = geometric(images, labels, draw(len(images), GEOMETRIC_DRAWS), config.geometric)
    if config.hue:
        images = turn_hues(images, draw(len(images), 1), config.hue)
    if strength:
        images = photometric(images, draw(len(images), PHOTOMETRIC_DRAWS), strength)
    return images, labels


def relativistic_loss(lower: Tensor, higher: Tensor) -> Tensor:
    r"""$\mathbb E \log(1 + \exp(\mathcal D(\mathbf x_-) - \mathcal D(\mathbf x_+)))$ over pairs, by place:
    Logits (B,): `higher` of the images that shall seem more real, the real ones to D, the generated ones to G.

    Source: Huang et al. (2024), with a penalty on D's gradient at real (R1) and at generated images (R2).
    """
    return F.softplus(lower - higher).mean()


def matching_loss(fake: Tensor, real: Tensor) -> Tensor:
    r"""$\|\mathbb E f(\mathcal G(\mathbf z)) - \mathbb E f(\mathbf x)\|^2 / D$ for G, with D's features f (B, D).

    Source: Salimans et al. (2016), who have it in place of Eq. 13; here it comes on top."""
    return F.mse_loss(fake.float().mean(dim=0), real.float().mean(dim=0))


def floor_loss(masks: Tensor, floor: float, least: float) -> Tensor:
    r"""$\sum_k \max(0, \frac{\phi}{K} A - A_k)$ in pixels: each part keeps the share $\phi$ of an even one, as
    Eq. 17 keeps its heatmap's. $A_k$: area of mask k, mean over the batch, as a part may be hidden in an image.

    `masks` (B, K, H, W) without the background; `floor`: phi. A: all parts' area, of which nothing is learnt, at least
    the share `least` of the image, or a vanishing foreground would be content.
    """
    areas = masks.sum(dim=(2, 3)).mean(dim=0)  # (K,)
    even = areas.sum().detach().clamp(min=least * masks[0, 0].numel()) / len(areas)
    return F.relu(floor * even - areas).sum()


class Balance(nn.Module):
    r"""The factor w of a weight that finds its balance: $w \leftarrow w^{1 - \eta} (s / [s]_a^b)^{\eta\,GAIN}$, with
    $[s]_a^b$ the foreground's share s brought into a band, and their ratio within 1 / e and e.

    So L_con (Eq. 16) pulls harder while the foreground spreads, gives way while it, or a part, vanishes, and within the
    band returns to its weight: the first steps, in which masks cover nearly all, leave nothing behind.
    `config.foreground`: a, b; `config.balance`: eta.
    """

    def __init__(self, config: PlusConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("factor", torch.ones(()))

    @torch.no_grad()
    def forward(self, areas: Tensor) -> Tensor:
        """`areas` (K,): the parts' shares of the generated images. Moves w by a step and returns it."""
        (low, high), share = self.config.foreground, areas.sum()
        weakest = areas.min() * len(areas) / DEAD
        share = torch.where(share > high, share, torch.minimum(share, weakest)).clamp(min=1e-4)
        error = (share / share.clamp(low, high)).log().clamp(-1, 1)
        self.factor.copy_(torch.lerp(self.factor.log(), GAIN * error, self.config.balance).exp())
        return self.factor.clone()


def both_ways(network: nn.Module, images: Tensor) -> Tensor:
    """Part probabilities (B, K + 1, H, W) of `network`, the foreground's a mean over `images` and their mirrors.

    Among each other the parts keep the ratios of the images themselves: left and right parts may change sides in a
    mirror, the foreground cannot.
    """
    direct, mirrored = network(images).softmax(dim=1), network(images.flip(3)).flip(3).softmax(dim=1)
    background, parts = (direct[:, :1] + mirrored[:, :1]) / 2, direct[:, 1:]
    parts = (1 - background) * parts / parts.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.cat([background, parts], dim=1)


@torch.no_grad()
def pseudo_labels(teacher: nn.Module, images: Tensor, confidence: float, crop: float = 0.0) -> Tensor:
    """The teacher's labels (B, H, W) of photographs (B, 3, H, W); -1 where it has less `confidence`, to which an image
    and its mirror image must agree on the foreground. Source: Sohn et al. (2020).

    `crop`: side of a square at random, over the image's, of which the teacher also labels an enlarged copy: -1 as well
    where it calls that by another name. Source: Araslanov and Roth (2021), who average over such copies.
    """
    sure, labels = both_ways(teacher, images).max(dim=1)
    labels = labels.masked_fill(sure < confidence, -1)
    if crop:
        size, side = images.shape[-1], max(1, round(crop * images.shape[-1]))
        top, left = torch.randint(size - side + 1, (2,), device="cpu").tolist()
        square = (..., slice(top, top + side), slice(left, left + side))
        enlarged = F.interpolate(images[square], size=(size, size), mode="bilinear")
        names = F.interpolate(teacher(enlarged).float(), size=(side, side), mode="bilinear").argmax(dim=1)
        labels[square] = labels[square].where(labels[square] == names, -1)
    return labels


def self_training_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of `logits` (B, K + 1, H, W) and `pseudo_labels` (B, H, W), a mean in which pixels without one
    count as 0. Source: Sohn et al. (2020)."""
    return F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / labels.numel()


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move weights and batch statistics of `average` towards those of `network` (Tarvainen and Valpola, 2017)."""
    pairs = zip(average.state_dict().values(), network.state_dict().values(), strict=True)
    old, new = zip(*((a, b) for a, b in pairs if a.is_floating_point()), strict=True)
    torch._foreach_lerp_(old, new, 1 - decay)
