"""A reproducible companion to GANSeg: Learning to Segment by Unsupervised Hierarchical Image Generation (CVPR 2022)."""

import importlib
from typing import Any

from ganseg.files import UserError

__all__ = ["EQUATIONS", "Experiment", "Run", "UserError", "find_runs", "run"]

# Where each equation of the paper is defined.
EQUATIONS = {
    1: "points.part_scales", 2: "points.PointGenerator.dynamic", 3: "points.PointGenerator.embeddings",
    4: "points.heatmaps", 5: "layers.RelativeEncoding", 6: "masks.MaskGenerator", 7: "layers.embedding_map",
    8: "image.ForegroundGenerator", 9: "image.BackgroundEmbedding", 10: "image.BackgroundGenerator",
    11: "image.Composition", 12: "layers.pixel_grid", 13: "losses.generator_loss", 14: "losses.discriminator_loss",
    15: "losses.gradient_penalty", 16: "losses.concentration_loss", 17: "losses.area_loss",
    18: "losses.discriminator_objective", 19: "losses.generator_objective",
}  # fmt: skip
_HOMES = {"Experiment": "experiments", "run": "experiments", "Run": "runs", "find_runs": "runs"}


def __getattr__(name: str) -> Any:
    """What runs experiments, imported when it is asked for: the command line answers without torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"ganseg.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
