"""Learning: the adversarial game (Eq. 18, 19), and the segmentation network on generated pairs.

Every random draw of step t is a function of (seed, t) alone, so a resumed run repeats an uninterrupted one.
"""

import copy
import functools
import zlib

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn
from torchvision.models import ResNet50_Weights

from ganseg import losses, plus
from ganseg.config import Config
from ganseg.data import Batches
from ganseg.devices import Fabric, Replayed, adam, own, place, update
from ganseg.discriminator import Discriminator
from ganseg.files import DOWNLOADS, UserError, imagenet_at_hand
from ganseg.generator import Generator, Noise, Scene
from ganseg.segmenter import Segmenter, segmentation_loss

STATISTICS = 512  # generated images, at most, that give an averaged generator its batch statistics


def seed_step(seed: int, stage: str, step: int) -> None:
    """Seed every random draw of this step, alike in all processes."""
    torch.manual_seed(zlib.crc32(f"{seed}/{stage}/{step}/0".encode()))


def uniform(rows: int, columns: int, fabric: Fabric) -> Tensor:
    """This process's `rows` of numbers from U(0, 1), (rows, columns)."""
    return own(torch.rand(rows * fabric.world_size, columns, device=fabric.device), fabric)


def to_unit(images: Tensor, device: torch.device) -> Tensor:
    """uint8 [0, 255] -> float [-1, 1] on `device`."""
    return images.to(device, non_blocking=True).float().div_(127.5).sub_(1)


class GanTrainer:
    """Stage 1: a step of D on real images and detached fakes (Eq. 18), then one of G through the updated D (Eq. 19).

    Each has an autocast of its own: autocast keeps rounded weights until it ends, and G must meet D as updated.
    """

    name = "gan"

    def __init__(self, config: Config, fabric: Fabric, stream: Batches) -> None:
        seed_step(config.seed, "init", 0)
        self.config, self.fabric, self.stream, optim = config, fabric, stream, config.optim
        self.generator = place(Generator(config.generator), fabric)
        self.discriminator = place(Discriminator(config.discriminator, config.data.size), fabric)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False) if optim.ema else None
        self.g_optim = adam(self.generator, optim.lr_generator, optim.betas, fabric)
        self.d_optim = adam(self.discriminator, optim.lr_discriminator, optim.betas, fabric)
        self.parts = {"generator": self.generator, "discriminator": self.discriminator}  # what a checkpoint holds
        self.parts |= {"g_optim": self.g_optim, "d_optim": self.d_optim} | ({"ema": self.ema} if self.ema else {})
        self.parts |= {"balance": plus.Balance(config.plus).to(fabric.device)} if config.plus.balance else {}
        self.augmentation = plus.Augmentation(config.plus).to(fabric.device)
        self.parts |= {"augmentation": self.augmentation} if config.plus.adaptive else {}
        self.replayed = Replayed(self.learn, fabric)

    def step(self, t: int) -> dict[str, Tensor]:
        """Train both networks once; returns the losses of step `t`."""
        seed_step(self.config.seed, self.name, t)
        real = to_unit(own(self.stream.batch(t), self.fabric), self.fabric.device)
        return self.replayed(real, *self.kind(t))

    def kind(self, t: int) -> tuple[bool, bool]:
        """Whether step `t` has the penalty on D's gradient, and G's geometric losses."""
        weights = self.config.losses
        return weights.lambda_gp > 0 and t % weights.penalty_every == 0, t % weights.geometry_every == 0

    def learn(self, real: Tensor, penalised: bool, geometric: bool) -> dict[str, Tensor]:
        """A step of each network, of a `kind`."""
        scene = self.scene()
        values = self.discriminator_step(real, scene.image.detach(), penalised)
        if not self.config.optim.share_fakes:
            scene = self.scene()
        values |= self.generator_step(scene, real, geometric)
        self.average()
        return values

    def scene(self) -> Scene:
        """A fresh batch of generated scenes."""
        with self.fabric.autocast():
            return self.generator(self.noise())

    def noise(self) -> Noise:
        """This process's share of a batch of noise."""
        return Noise(*(own(z, self.fabric) for z in self.generator.noise(self.config.optim.batch_size)))

    def seen(self, images: Tensor) -> Tensor:
        """What D sees of `images`."""
        if self.config.plus.augment or self.config.plus.adaptive:
            draws = uniform(len(images), plus.AUGMENT_DRAWS, self.fabric)
            images = plus.augment(images, draws, self.augmentation.probability)
        return images

    def judged(self, images: Tensor) -> Tensor:
        """Logits (B,) of D on what it sees of `images`."""
        return self.discriminator(self.seen(images))

    def discriminator_step(self, real: Tensor, fake: Tensor, penalised: bool) -> dict[str, Tensor]:
        """One step of D (Eq. 18), with the penalty on its gradient where it is `penalised`."""
        weights, penalty, values = self.config.losses, torch.zeros(()), {}
        pairing = self.config.plus.relativistic
        with self.fabric.autocast():
            fake_logits, real_logits = self.judged(torch.cat([fake, real])).chunk(2)
            gan = (plus.relativistic_loss if pairing else losses.discriminator_loss)(fake_logits, real_logits)
            if penalised:
                sides = (real, fake) if pairing else (real,)
                penalty = sum(losses.gradient_penalty(self.judged, side, weights.gradient_penalty) for side in sides)
                values = {"gp": penalty.detach()}
            loss = losses.discriminator_objective(gan, penalty, weights)
        update(self.discriminator, self.d_optim, loss, self.fabric)
        if "augmentation" in self.parts:
            values["augment"] = self.augmentation.adapt(self.fabric.all_reduce(real_logits.detach().sign().mean()))
        return {"d": gan.detach(), **values}

    def generator_step(self, scene: Scene, real: Tensor, geometric: bool) -> dict[str, Tensor]:
        """One step of G (Eq. 19), of its first term alone where it is not `geometric`. `real`: to pair with."""
        with self.fabric.autocast():
            gan = self.adversarial(scene.image, real)
        loss, values = gan, {"g": gan.detach()}
        if geometric:
            concentration, area = self.geometry(scene)
            areas = scene.masks[:, 1:].detach().mean(dim=(0, 2, 3))  # (K,) of the image
            values |= {"con": concentration.detach(), "area": area.detach(), "foreground": areas.sum()}
            if "balance" in self.parts:
                values["balance"] = self.parts["balance"](self.fabric.all_reduce(areas))
            concentration = concentration * values.get("balance", 1)
            loss = losses.generator_objective(gan, concentration, area, self.config.losses)
        update(self.generator, self.g_optim, loss, self.fabric)
        return values

    def adversarial(self, fake: Tensor, real: Tensor) -> Tensor:
        """What G learns from D: Eq. 13, or `plus.relativistic_loss` against `real` images (B, 3, H, W); and what
        `plus.matching_loss` adds."""
        extra, network = self.config.plus, self.discriminator
        if not (extra.relativistic or extra.matching):
            return losses.generator_loss(self.judged(fake))
        features = network.features(self.seen(fake))
        with torch.no_grad():
            real_features = network.features(self.seen(real))
        logits, real_logits = (network.head[-1](f).squeeze(1).float() for f in (features, real_features))
        gan = plus.relativistic_loss(real_logits, logits) if extra.relativistic else losses.generator_loss(logits)
        return gan + extra.matching * plus.matching_loss(features, real_features)

    def geometry(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """L_con and L_area (Eq. 16, 17), with `plus.floor_loss` where it is asked for."""
        weights, masks, grid = self.config.losses, scene.masks[:, 1:], self.generator.grid
        heatmap, extra = self.config.generator.heatmap, self.config.plus
        area = losses.area_loss(masks, scene.centres, scene.scales, grid, heatmap, weights.area)
        if extra.floor:
            area = area + plus.floor_loss(masks, extra.floor, extra.foreground[0])
        return losses.concentration_loss(masks, scene.centres, grid, weights.over_parts), area

    def average(self) -> None:
        """Move the averaged generator, where there is one, towards the current one."""
        if self.ema is not None:
            plus.follow(self.ema, self.generator, self.config.optim.ema)

    @torch.no_grad()
    def result(self) -> Generator:
        """The current generator, or the averaged one, its statistics re-estimated on no more noise than it saw."""
        if self.ema is None:
            return self.generator
        seed_step(self.config.seed, "statistics", 0)
        batches = max(1, min(STATISTICS // self.config.optim.batch_size, self.config.optim.steps))
        with self.fabric.autocast():
            update_bn(([self.noise()] for _ in range(batches)), self.ema)
        return self.ema


def untrained_segmenter(config: Config) -> Segmenter:
    """The segmentation network before stage 2, from random weights or from ImageNet's; UserError without the latter."""
    segmenter, url = Segmenter.of(config), ResNet50_Weights.IMAGENET1K_V1.url
    if config.segmenter.pretrained:
        if not imagenet_at_hand():
            raise UserError(f"PyTorch's cache lacks {url}, and nothing is fetched unasked; {DOWNLOADS}=1 fetches it")
        try:
            weights = torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise UserError(f"{url} could not be fetched ({error}); put it into PyTorch's cache") from None
        segmenter.network.backbone.load_state_dict({n: w for n, w in weights.items() if not n.startswith("fc.")})
    return segmenter


class SegmenterTrainer:
    """Stage 2: the segmentation network on a stream of generated pairs; G is in eval mode and does not change.

    With self-training its last steps also learn from images of `stream`, as its average, the result, labels them.
    """

    name = "segmenter"

    def __init__(self, config: Config, fabric: Fabric, generator: Generator, stream: Batches | None = None) -> None:
        seed_step(config.seed, "init-segmenter", 0)
        self.config, self.fabric, self.stream = config, fabric, stream
        self.generator = generator.eval().requires_grad_(False)
        self.segmenter = place(untrained_segmenter(config), fabric).train()
        self.s_optim = adam(self.segmenter, config.segmenter.lr, (0.9, 0.999), fabric)
        self.parts = {"segmenter": self.segmenter, "s_optim": self.s_optim}  # what a checkpoint holds
        if config.plus.self_training:
            self.parts["teacher"] = copy.deepcopy(self.segmenter).eval().requires_grad_(False)

    def step(self, t: int) -> dict[str, Tensor]:
        """Train the segmentation network once; returns its losses."""
        seed_step(self.config.seed, self.name, t)
        noise = Noise(*(own(z, self.fabric) for z in self.generator.noise(self.config.segmenter.batch_size)))
        extra, values, draw = self.config.plus, {}, functools.partial(uniform, fabric=self.fabric)
        self_training = "teacher" in self.parts and t >= (1 - extra.self_training) * self.config.segmenter.steps
        with self.fabric.autocast():
            images, labels = self.generator.pairs(noise)
            images, labels = plus.varied(images.clamp(-1, 1), labels, extra, extra.photometric, draw)
            if self_training:
                photographs = to_unit(own(self.stream.batch(t), self.fabric), self.fabric.device)
                trusted = plus.pseudo_labels(self.parts["teacher"], photographs, extra.confidence, extra.crops)
                photographs, trusted = plus.varied(photographs, trusted, extra, 1.0, draw)
                images = torch.cat([images, photographs])
            logits = self.segmenter(images)
            loss = segmentation_loss(logits[: len(labels)], labels)
            values["segmentation"] = loss.detach()
            if self_training:
                own_loss = plus.self_training_loss(logits[len(labels) :], trusted)
                values |= {"self": own_loss.detach(), "trusted": (trusted >= 0).float().mean()}
                loss = loss + own_loss
        update(self.segmenter, self.s_optim, loss, self.fabric)
        if "teacher" in self.parts:
            plus.follow(self.parts["teacher"], self.segmenter, min(extra.teacher, (t + 1) / (t + 10)))
        return values

    def result(self) -> Segmenter:
        """The segmentation network to use: the averaged one where there is one."""
        return self.parts.get("teacher", self.segmenter)
