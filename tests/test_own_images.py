"""Where users of the released code failed with their own images: sizes, and a whole run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import done
from PIL import Image

from ganseg import Run
from ganseg.config import Config
from ganseg.data import load
from ganseg.data.creatures import CREATURES
from ganseg.discriminator import Discriminator
from ganseg.generator import Generator
from ganseg.recipes import SCALES, resolve

PIXELS = (32, 48, 64, 96, 128, 192, 256)
NARROW = {
    "generator.noise_dim": 8, "generator.embedding_dim": 4, "generator.spade_hidden": 4, "discriminator.hidden": 8,
}  # fmt: skip


def of_size(size: int, scale: str = "laptop") -> Config:
    """The configuration of one's own images at a size."""
    return resolve("folder", "paper", scale, overrides={"data.size": size})


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", PIXELS)
def test_a_size_alone_gives_networks_that_fit_and_the_scales_own_changes_nothing(size: int, scale: str) -> None:
    config, usual = of_size(size, scale), resolve("folder", "paper", scale)
    assert usual.data.size in PIXELS and (config == usual) == (size == usual.data.size)
    with torch.device("meta"):
        generator, discriminator = Generator(config.generator), Discriminator(config.discriminator, size)
        assert discriminator(torch.empty(2, 3, size, size)).shape == (2,)
    assert (generator.config.size, len(generator.grid)) == (size, size)
    least = min(generator.config.start_size, usual.generator.start_size)
    assert least >= 4 and generator.config.start_size < 2 * usual.generator.start_size
    side = discriminator.head[1].in_features / config.discriminator.widths[-1]
    assert 1 <= side <= (usual.data.size / 2 ** len(usual.discriminator.widths)) ** 2


OWN = {"generator.block_sizes": "10,20,40", "discriminator.widths": "8,8"}


BLOCKS = [
    ("folder", 48, "laptop", {}, {"generator.block_sizes": (12, 24, 48)}),
    ("folder", 192, "gpu", {}, {"generator.block_sizes": (48, 48, 96, 192)}),
    ("folder", 256, "gpu", {}, {"generator.block_sizes": (32, 32, 64, 128, 256)}),
    ("folder", 256, "gpu", {}, {"generator.block_widths": (512, 256, 128, 64, 64)}),
    ("folder", 256, "gpu", {}, {"discriminator.widths": (64, 128, 256, 512, 512, 512, 512)}),
    ("flowers", 64, "gpu", {}, {"generator.block_sizes": (16, 16, 32, 32, 64, 64)}),
    ("folder", 40, "laptop", OWN, {"generator.block_sizes": (10, 20, 40), "discriminator.widths": (8, 8)}),
]


@pytest.mark.parametrize(("data", "size", "scale", "own", "blocks"), BLOCKS)
def test_blocks_follow_the_size_where_they_are_not_ones_own(data, size, scale, own, blocks):
    config = resolve(data, "paper", scale, overrides={"data.size": size} | own)
    assert config == config.replace(blocks)


@pytest.mark.usefixtures("cache")
def test_own_images_train_and_are_evaluated_with_their_masks_and_keypoints(tmp_path: Path) -> None:
    """80 drawn faces, with masks and two keypoints."""
    root = tmp_path / "faces"
    (root / "masks").mkdir(parents=True)
    drawn = CREATURES["synthetic-face"].scenes(0, np.arange(80), 48)
    rows = ["name,point,x,y,visible"]
    for i in range(80):
        Image.fromarray(drawn["images"][i]).save(root / f"{i}.png")
        Image.fromarray(drawn["foreground"][i] * 255).save(root / "masks" / f"{i}.png")
        for j in range(2):
            x, y = drawn["keypoints"][i, j]
            rows.append(f"{i}.png,p{j},{x:.2f},{y:.2f},{int(drawn['visible'][i, j])}")
    (root / "keypoints.csv").write_text("\n".join(rows))
    settings = NARROW | {"optim.steps": 2, "optim.batch_size": 4, "segmenter.steps": 2, "segmenter.batch_size": 4}
    words = "train --data folder --size 32 --parts 2 --quiet --device cpu --data-dir"
    sets = [f"--set={key}={value}" for key, value in settings.items()]
    run = Run.open(done(words, root, "--results", tmp_path, *sets).stdout.strip())
    metrics = run.metrics
    test = load("folder", "test", 32, data_dir=root)
    assert metrics["test_images"] == metrics["iou_images"] == len(test) and 0 < metrics["iou_constant_mask"] < 1
    assert metrics["landmark_error_mean"] > 0 and test.keypoint_names == ("p0", "p1")
    assert (run.directory / "segmentation.png").exists()
    assert run.provenance["variant"] == "plus" and run.segmenter().flip, "made for few images, unless told otherwise"
