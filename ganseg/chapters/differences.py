"""Where the paper and its released code disagree (`differences.yml`), and what a disagreement changes in our
runs.

Where we can switch a disagreement it is a variant of its own, `paper+NAME`; all of them together are
`released`. The ImageNet initialisation of the released segmenter, row 26, is an experiment apart: see
`imagenet_experiments`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from ganseg.experiments import Experiment, Run, find_runs
from ganseg.files import UserError, downloads_allowed
from ganseg.generator import Generator
from ganseg.recipes import DIFFERENCES, OPTIONS, resolve
from ganseg.studies import SEEDS, interval, settings
from ganseg.tables import BLANK, SCALES

FACTS = Path(__file__).with_name("differences.yml")
COLUMNS = ["row", "topic", "group", "paper", "code", "consequence", "variant", "measure", "setting"]
PAIR = ("segmenter.backbone", "segmenter.output_stride")  # what the fair counterpart of row 26 has of its own
METRICS = {
    "iou": "IoU ↑",
    "nmi_both": "NMI ↑",
    "landmark_error_ratio": "Landmark error ratio ↓",
    "components_per_part": "Pieces per part ↓",
    "vanished_parts": "Vanished parts ↓",
    "foreground_fraction": "Foreground",
}


@cache
def load_differences(path: Path = FACTS) -> pd.DataFrame:
    """A row for each fact, with the columns of the file; what a fact does not have is empty. UserError for a
    variant that there is not, or one of `scales.DIFFERENCES` that no fact names."""
    facts = pd.DataFrame(yaml.safe_load(path.read_text(encoding="utf-8")), columns=COLUMNS)
    facts = facts.astype(object).where(facts.notna(), "")
    named = set(facts["variant"]) - {""}
    wrong = sorted((named - set(DIFFERENCES | OPTIONS)) | (set(DIFFERENCES) - named))
    if wrong:
        raise UserError(f"{path.name} and scales.DIFFERENCES disagree on {', '.join(wrong)}")
    return facts


def variants() -> dict[str, str]:
    """Every variant that follows the released code somewhere -> how it is called, from `paper` to
    `released`."""
    names = {f"paper+{name}": name for name in [*DIFFERENCES, "imagenet-segmenter"]}
    return {"paper": "paper"} | names | {"released": "released, all at once"}


def effects(results: str | Path | None = None, first: str = "") -> pd.DataFrame:
    """What each difference changes: a row for each setting, variant and metric that finished runs have.

    Columns: scale, data, variant, rows (of the facts), metric, mean, low, high, n, and `change`, the mean
    less that of `paper` in the same setting. Settings in which `paper` alone was run are left out.
    """
    facts, lines = load_differences(), []
    for frame in settings(results, first):
        frame = frame[frame["variant"].isin(list(variants()))]
        usual = frame[frame["variant"] == "paper"]
        if usual.empty or len(frame) == len(usual):
            continue
        for variant, metric in [(v, m) for v in variants() for m in METRICS if m in frame]:
            values = frame.loc[frame["variant"] == variant, metric].dropna()
            if len(values):
                rows = facts.loc[facts["variant"] == variant.removeprefix("paper+"), "row"]
                place = {name: frame[name].iloc[0] for name in ("scale", "data")}
                line = place | {"variant": variant, "rows": ", ".join(map(str, rows)), "metric": metric}
                line |= {**interval(values)._asdict(), "n": len(values)}
                lines.append(line | {"change": line["mean"] - float(usual[metric].mean())})
    columns = ["scale", "data", "variant", "rows", "metric", "mean", "low", "high", "n", "change"]
    return pd.DataFrame(lines, columns=columns)


def effects_table(found: pd.DataFrame) -> pd.DataFrame:
    """`effects` as displayed: a line for each setting and variant, metrics beside each other."""
    lines = []
    for (scale, data, variant), group in found.groupby(["scale", "data", "variant"], sort=False):
        cells = {row["metric"]: _cell(row) for row in group.to_dict("records")}
        line = {
            "Variant": variants()[variant],
            "Rows": group["rows"].iloc[0] or BLANK,
            "Data": data,
            "Scale": scale,
        }
        line |= {title: cells.get(metric, BLANK) for metric, title in METRICS.items()}
        lines.append(line | {"Seeds": int(group["n"].max())})
    return pd.DataFrame(lines)


def _cell(row: dict[str, Any]) -> str:
    width = f" ± {row['high'] - row['mean']:.3f}" if row["high"] == row["high"] else ""
    return f"{row['mean']:.3f}{width}"


def conventions(results: str | Path | None = None, first: str = "") -> pd.DataFrame:
    """Disagreements on how to score, on the same runs: a row for each fact with a `measure` and each setting
    of `paper`.

    Columns: row, topic, scale, data, released (the mean in the code's way), other, metric, n.
    """
    facts = load_differences()
    lines = []
    for frame in settings(results, first):
        usual = frame[frame["variant"] == "paper"]
        for fact in facts[facts["measure"] != ""].to_dict("records"):
            one, other = fact["measure"]
            if len(usual) and one in usual and other in usual and len(both := usual[[one, other]].dropna()):
                place = {name: usual[name].iloc[0] for name in ("scale", "data")}
                line = {"row": fact["row"], "topic": fact["topic"], **place, "metric": one}
                lines.append(line | {"released": both[one].mean(), "other": both[other].mean(), "n": len(both)})
    return pd.DataFrame(lines, columns=["row", "topic", "scale", "data", "metric", "released", "other", "n"])


@torch.no_grad()
def untrained(variant: str, scale: str, data: str, seed: int = 0, samples: int = 64) -> dict[str, Any]:
    """Level 1 of an untrained generator of `variant`: `heatmaps` (B, K, S, S), and in pixels the spread of
    part `centres` over parts and samples and the median part `scale`."""
    config = resolve(data, variant, scale, seed=seed)
    torch.manual_seed(seed)
    generator = Generator(config.generator).eval()
    noise = generator.noise(samples, torch.Generator().manual_seed(seed))
    parts = generator.point_generator(noise.point, noise.appearance)
    pixels = config.data.size / 2
    return {
        "heatmaps": generator.heatmaps(parts).numpy(),
        "centres": float(parts.centres.flatten(0, 1).std(dim=0).mean()) * pixels,
        "scale": float(parts.scales.median()) * pixels,
    }


def imagenet_weights() -> Path | None:
    """torchvision's ImageNet weights of ResNet-50: where they lie, or would be fetched to if the user allows
    downloads; None where they are missing and GANSEG_ALLOW_DOWNLOADS is not 1."""
    from torchvision.models import ResNet50_Weights

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(ResNet50_Weights.IMAGENET1K_V1.url).name
    return path if path.exists() or downloads_allowed() else None


def imagenet_experiments(**fields: Any) -> list[Experiment]:
    """Row 26: the segmenter from ImageNet weights, and the same network from random ones; `fields` as of
    `Experiment`."""
    experiment = Experiment(variant="paper+imagenet-segmenter", **fields)
    if fields.get("scale") in SCALES[-2:]:  # their segmenter is that network already
        return [experiment, Experiment(variant="paper", **fields)]
    own = {name: OPTIONS["imagenet-segmenter"][name] for name in PAIR}
    return [experiment, Experiment(variant="paper", overrides=own, **fields)]


def imagenet_runs(results: str | Path | None = None) -> pd.DataFrame:
    """Finished runs of row 26, a row a run: scale, data, seed, `start` (ImageNet or random) of the segmenter,
    iou, run."""
    lines = []
    for run in find_runs(results, own_settings=True):
        p, network = run.provenance, run.config.segmenter
        alone = not set(p["overrides"]) - set(PAIR) and p["variant"] in ("paper", "paper+imagenet-segmenter")
        if alone and network.backbone == "resnet50" and "iou" in run.metrics:
            start = "ImageNet" if network.pretrained else "random"
            place = {name: p[name] for name in ("scale", "data", "seed")}
            lines.append(place | {"start": start, "iou": run.metrics["iou"], "run": run})
    frame = pd.DataFrame(lines, columns=["scale", "data", "seed", "start", "iou", "run"])
    both = frame.groupby(["scale", "data"])["start"].transform("nunique") == 2
    return frame[both].reset_index(drop=True)


def runs_of(found: pd.DataFrame, results: str | Path | None = None) -> list[Run]:
    """The runs behind `effects`, for the provenance line."""
    wanted = set(zip(found["scale"], found["data"], found["variant"], strict=True))
    frames = settings(results)
    runs = [run for frame in frames for run in frame["run"]]
    return [r for r in runs if tuple(r.provenance[name] for name in ("scale", "data", "variant")) in wanted]


def equations_suffice(found: pd.DataFrame, margin: float) -> tuple[dict[str, bool], bool]:
    """Checks for `figures.verdict` from `effects`: mean IoU of `paper` at most `margin` below `released`, a
    check for each setting, and whether they decide: only settings above scale tiny with `SEEDS` seeds of both
    do, and then only they count."""
    wide = found[found["metric"] == "iou"].pivot(index=["data", "scale"], columns="variant", values=["mean", "n"])
    checks: dict[bool, dict[str, bool]] = {True: {}, False: {}}
    if {("mean", "paper"), ("mean", "released")} <= set(wide.columns):
        for (data, scale), row in wide.dropna(subset=[("mean", "paper"), ("mean", "released")]).iterrows():
            ours, theirs = row["mean", "paper"], row["mean", "released"]
            decides = scale != "tiny" and min(row["n", "paper"], row["n", "released"]) >= SEEDS
            text = f"{data}, scale {scale}: IoU {ours:.3f} as printed, {theirs:.3f} as released"
            checks[decides][text] = ours > theirs - margin
    return checks[True] or checks[False], bool(checks[True])
