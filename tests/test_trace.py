"""RECIPE stands for what the code learns from a configuration: where first losses move, it is raised by hand.

`python tests/test_trace.py` writes the losses again, after RECIPE was raised.
"""

import numpy as np
import pytest
from conftest import ROOT
from lightning_fabric import Fabric

from ganseg.config import Config
from ganseg.data import Batches, Split
from ganseg.experiments import RECIPE
from ganseg.files import read_json, write_json
from ganseg.recipes import variant_settings
from ganseg.training import GanTrainer, SegmenterTrainer

TRACE = ROOT / "tests" / "golden" / "trace.json"
SMALL = {
    "data.size": 16, "generator.block_sizes": (8, 16), "generator.block_widths": (8, 8), "generator.noise_dim": 8,
    "generator.embedding_dim": 8, "generator.spade_hidden": 8, "generator.margin": 2, "discriminator.widths": (8, 8),
    "discriminator.hidden": 8, "losses.penalty_every": 2, "optim.batch_size": 4, "optim.ema": 0.9,
    "segmenter.backbone": "resnet18-light", "segmenter.output_stride": 4,
    "segmenter.width": 16, "segmenter.batch_size": 4,
}  # fmt: skip


def trace(variant: str) -> dict[str, float]:
    """Losses of three steps of stage 1 and two of stage 2, on images of noise."""
    config, fabric = Config().replace(variant_settings(variant) | SMALL), Fabric(accelerator="cpu", devices=1)
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    stream = Batches(Split(noise, tuple("abcdefghijkl")), 4, 0, "crop_flip", fabric.device)
    gan = GanTrainer(config, fabric, stream)
    found = {f"{variant}, step {t}: {name}": value.item() for t in range(3) for name, value in gan.step(t).items()}
    second = SegmenterTrainer(config, fabric, gan.result())
    return found | {f"{variant}, stage 2, step {t}": second.step(t)["segmentation"].item() for t in range(2)}


def test_numbers_change_with_the_recipe_alone() -> None:
    frozen, now = read_json(TRACE), trace("paper") | trace("released")
    moved = {name: (frozen["losses"].get(name), value) for name, value in now.items()
             if value != pytest.approx(frozen["losses"].get(name), rel=1e-3, abs=1e-5)}  # fmt: skip
    assert not moved or frozen["recipe"] != RECIPE, f"numbers changed: raise RECIPE (ganseg/experiments.py): {moved}"
    assert not moved and frozen["recipe"] == RECIPE, "RECIPE was raised: write the trace again (see above)"


if __name__ == "__main__":
    write_json(TRACE, {"recipe": RECIPE, "losses": trace("paper") | trace("released")})
