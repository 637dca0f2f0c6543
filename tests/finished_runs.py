"""Finished runs of made-up numbers, without weights, as published ones are."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ganseg.recipes import resolve

METRICS = {"part_usage": [1.0] * 6, "iou": 0.5, "iou_constant_mask": 0.2, "iou_images": 1000, "test_images": 1000,
           "foreground_fraction": 0.2, "components_per_part": 1.0}  # fmt: skip


def write_run(results: Path, variant: str = "paper", *, scale: str = "laptop", data: str = "synthetic-bird",
              parts: int = 6, seed: int = 0, overrides: dict[str, Any] | None = None, train_images: int = 10000,
              key: str = "", finished: str = "2026-01-01", config: dict[str, Any] | None = None,
              **metrics: Any) -> Path:  # fmt: skip
    """The directory of a run with these `metrics`, the others being METRICS; sections of `config` replace today's."""
    own = overrides or {}
    key = key or "0" + "".join(letter for letter in str(own) if letter.isalnum())
    directory = results / scale / "runs" / f"{data}-{variant}-k{parts}-s{seed}-{key}"
    directory.mkdir(parents=True, exist_ok=True)
    record = {"data": data, "variant": variant, "parts": parts, "seed": seed, "scale": scale, "overrides": own,
              "key": key, "train_images": train_images, "device": "a device", "commit": "0123456789abcdef",
              "dirty": False, "finished": finished}  # fmt: skip
    config = resolve(data, variant, scale, parts, seed, own).model_dump() | (config or {})
    record["steps"] = config["optim"]["steps"]
    for name, content in {"config": {"config": config}, "provenance": record, "metrics": METRICS | metrics}.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


def write_samples(directory: Path, labels: np.ndarray) -> None:
    """The samples.npz of a run: `labels` (N, H, W) on black images."""
    images = np.zeros((*labels.shape, 3), np.uint8)
    np.savez_compressed(directory / "samples.npz", images=images, labels=labels.astype(np.uint8))
