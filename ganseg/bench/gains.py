"""What each optimisation brings: the step with it and with it alone switched off, interleaved in one
process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from ganseg.bench import without
from ganseg.bench.measure import compare
from ganseg.bench.steps import Setting, Step


@dataclass(frozen=True)
class Gain:
    """An optimisation and how to switch it off: by settings, by another precision, by changing the built
    trainer (`adjust`), or in a context in which the trainer is built and every step is taken (`around`,
    which may replace a function of the package)."""

    name: str
    what: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    precision: str = ""
    adjust: Callable[[Any], None] | None = None
    around: Callable[[], AbstractContextManager[Any]] = nullcontext

    def off(self, setting: Setting) -> Setting:
        """`setting` without this optimisation."""
        return dataclasses.replace(
            setting,
            label=f"without {self.name}",
            config=setting.config.replace(dict(self.settings)),
            precision=self.precision or setting.precision,
            adjust=self.adjust,
            around=self.around,
        )

    def changes(self, setting: Setting, precision: str) -> bool:
        """Whether there is something to switch off; `precision` is the one in use."""
        elsewhere = self.adjust is not None or self.around is not nullcontext
        return elsewhere or self.precision not in ("", precision) or self.off(setting).config != setting.config


def unfused(trainer: Any) -> None:
    """Let Adam take one small operation after another."""
    for optimizer in (trainer.g_optim, trainer.d_optim):
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = False, False


# In the order of the book's table. More are added here.
GAINS: list[Gain] = [
    Gain("shared fakes", "one fake batch serves both steps", {"optim.share_fakes": False}),
    Gain("bf16", "convolutions and matrix products in bf16, where the hardware has it", precision="32-true"),
    Gain("lazy penalty", "the gradient penalty every 16th step, scaled by 16", {"losses.penalty_every": 1}),
    Gain("fused Adam", "one operation for an update of all parameters", adjust=unfused),
    Gain(
        "one matrix a resampling",
        "upsampling, cropping and padding as two matrix products",
        around=without.resampling_by_pytorch,
    ),
    Gain(
        "folded embedding maps",
        "the first SPADE convolution on the K maps, its kernels made for each image",
        around=without.dense_embedding_maps,
    ),
    Gain(
        "gamma and beta together",
        "one convolution for both, and one graph node for the modulation",
        around=without.separate_gamma_and_beta,
    ),
    Gain("separable heatmaps", "a Gaussian is the product of a row and a column", around=without.direct_heatmaps),
    Gain(
        "weights as one vector",
        "one rounding of all weights a step, one of all gradients",
        around=without.autocast_weights,
    ),
    Gain(
        "early crop", "the composition sees no more of the margin than its convolutions reach", adjust=without.late_crop
    ),
]


def measure_gains(setting: Setting, device: str, budget: float, gains: Sequence[Gain] = GAINS) -> list[dict[str, Any]]:
    """Rows with `name`, `what`, seconds a step `before` (switched off) and `after` (on), and their `ratio`
    with quartiles.

    `budget`: seconds for each. What is not in use, and so cannot be switched off, is left out.
    """
    rows = []
    for gain in gains:
        on = Step(setting, device)
        if not gain.changes(setting, on.precision):
            continue
        found = compare({"after": on, "before": Step(gain.off(setting), device)}, budget)
        rows.append(
            {
                "name": gain.name,
                "what": gain.what,
                "before": found["before"]["seconds"],
                "after": found["after"]["seconds"],
                "ratio": found["ratio"],
            }
        )
    return rows
