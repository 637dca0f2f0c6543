"""Is `ganseg segment` limited by the network or by files? Timed on a folder of generated photographs."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ganseg.bench.steps import Setting, launch
from ganseg.evaluation import predict
from ganseg.inference import segment_images
from ganseg.segmenter import Segmenter

SIZE = (500, 375)  # pixels, as photographs of the paper's data sets


class Nothing(nn.Module):
    """A network that costs nothing."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def probabilities(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, K + 1, H, W)."""
        return images.new_zeros(()).expand(len(images), self.parts + 1, *images.shape[2:])


def photographs(folder: Path, count: int) -> Path:
    """A folder of `count` JPEGs: smooth random colours with some grain, so that they compress like
    photographs."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        smooth = Image.fromarray(draw.integers(0, 256, (12, 16, 3), np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
        grain = draw.normal(0, 6, (SIZE[1], SIZE[0], 3))
        Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)).save(
            folder / f"{i:04}.jpg", quality=92
        )
    return folder


def measure_inference(setting: Setting, device: str = "auto", count: int = 64, overlays: str = "jpg") -> dict[str, Any]:
    """Images/s of `segment_images` as a whole, of its files alone (a network that costs nothing) and of
    its network alone."""
    config, fabric = setting.config, launch(setting, device)
    network = Segmenter(config.segmenter, config.generator.parts).to(fabric.device).eval()
    small = np.zeros((count, config.data.size, config.data.size, 3), np.uint8)
    predict(network, small[:8], fabric)  # warm-up
    with tempfile.TemporaryDirectory() as folder:
        given = photographs(Path(folder) / "in", count)

        def whole(model: nn.Module) -> float:
            run = SimpleNamespace(config=config, directory=Path(folder), segmenter=lambda: model)
            return _rate(
                count,
                lambda: segment_images(run, given, Path(folder) / "out", device=device, overlays=overlays),
            )

        return {
            "images": count,
            "pixels": list(SIZE),
            "overlays": overlays,
            "network_size": config.data.size,
            "whole": max(whole(network) for _ in range(2)),
            "files": max(whole(Nothing(config.generator.parts)) for _ in range(2)),
            "network": max(_rate(count, lambda: predict(network, small, fabric, 32)) for _ in range(2)),
        }


def _rate(count: int, run: Any) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return count / (time.perf_counter() - start)
