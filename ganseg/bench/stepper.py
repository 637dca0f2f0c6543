"""Training steps of whichever version of the package is on the path; `versions` runs this file as a script.

Standard input: a line of JSON with `data`, `scale` and `settings`, then one number of steps a line. Standard output:
the configuration as JSON, then a line whenever so many steps are done.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import torch

IMAGES = 256


class RandomImages:
    """A stream of random images that every version's trainer can read."""

    def __init__(self, batch_size: int, size: int) -> None:
        self.images = torch.randint(0, 256, (IMAGES, 3, size, size), dtype=torch.uint8)
        self.batch_size = batch_size

    def batch(self, step: int) -> torch.Tensor:
        """uint8 (B, 3, S, S), channels_last in memory."""
        chosen = (step * self.batch_size + torch.arange(self.batch_size)) % IMAGES
        return self.images[chosen].contiguous(memory_format=torch.channels_last)


def build(given: dict[str, Any]) -> Any:
    """The trainer of stage 1, by names that all versions have."""
    from ganseg.devices import make_fabric
    from ganseg.recipes import resolve
    from ganseg.training import GanTrainer

    config = resolve(given["data"], "paper", given["scale"]).replace(given["settings"])
    return GanTrainer(config, make_fabric("cpu"), RandomImages(config.optim.batch_size, config.data.size))


def main() -> None:
    """Build, tell the configuration, and take steps as they are asked for."""
    trainer, steps = build(json.loads(sys.stdin.readline())), itertools.count(1)
    print(json.dumps(trainer.config.to_dict()), flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            trainer.step(next(steps))
        print("done", flush=True)


if __name__ == "__main__":
    main()
