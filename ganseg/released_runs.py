"""Runs made of the authors' released weights: `ganseg import-released`."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganseg import provenance
from ganseg.config import Config, GeneratorConfig, SegmenterConfig
from ganseg.files import UserError, read_json, results_dir, write_json
from ganseg.generator import Generator
from ganseg.recipes import resolve
from ganseg.released import convert_generator, convert_segmenter, infer_generator
from ganseg.released_files import find_parameters, number, numbers, read_parameters, read_tensors
from ganseg.runs import CONFIG, GENERATOR, PROVENANCE, SEGMENTER
from ganseg.segmenter import Segmenter
from ganseg.training import save_weights

SCALE, VARIANT = "paper", "imported"
Heatmap = Literal["cone", "gaussian"]
# class_name of the released code -> our data set
DATA = {
    "celeba_wild": "celeba-wild", "celeba_aligned": "celeba-aligned", "cub": "cub", "flower": "flowers",
    "taichi": "taichi",
}  # fmt: skip
# Keys of parameters.json: fields that the tensors' shapes must agree with, fields that are taken over,
# keys that are treated one by one, and keys without a bearing here.
CHECKED = {
    "z_dim": "noise_dim", "n_keypoints": "parts", "n_per_kp": "points_per_part",
    "n_embedding": "embedding_dim", "image_size": "size",
}  # fmt: skip
TAKEN = {
    "batch_size": "optim.batch_size", "lr_gen": "optim.lr_generator", "lr_disc": "optim.lr_discriminator",
    "con_penalty_coef": "losses.lambda_con", "area_penalty_coef": "losses.lambda_area",
}  # fmt: skip
USED = (
    "feature_map_sizes", "feature_map_channels", "single_final", "use_linear", "smaller_init_mask",
    "class_name",
)  # fmt: skip
IDLE = ("model", "dis_model", "disc_iters", "num_workers", "data_root", "checkpoint", "log")


@dataclass(frozen=True)
class Imported:
    """A run made of released files, and what a person should know about it."""

    directory: Path
    notes: tuple[str, ...]


def import_released(
    checkpoint: str | Path, segmenter: str | Path | None = None, parameters: str | Path | None = None, *,
    data: str | None = None, parts: int | None = None, heatmap: Heatmap | None = None,
    results: str | Path | None = None, name: str | None = None,
) -> Imported:  # fmt: skip
    """Make a run of a released generator, and of a released segmentation network where there is one.

    `parameters`: the generator's parameters.json, looked for beside it by default. `data`: one of our data
    sets, `folder` where nothing tells it. `parts` (K) and `heatmap` are checked against the files. The run
    lies in `results`/paper/runs/; `name` is its folder. UserError for what does not fit, by released name.
    """
    checkpoint, segmenter = Path(checkpoint).expanduser(), Path(segmenter).expanduser() if segmenter else None
    released = read_tensors(checkpoint, "generator")
    found = Path(parameters).expanduser() if parameters else find_parameters(checkpoint)
    given = read_parameters(found) if found else {}
    generator = configure(released, given, parts, heatmap)
    data, notes = choose_data(data, given)
    notes += assumptions(generator, given, heatmap) + _place(found if not parameters else None)
    config = training_settings(data, generator, given)
    modules = {GENERATOR: load(Generator(generator), convert_generator(released, generator))}
    if segmenter:
        modules[SEGMENTER], words = load_segmenter(segmenter, config.segmenter, generator.parts)
    else:
        words = ["no segmentation network: `sample` works; `segment` and `evaluate` need --segmenter FILE"]
    notes += words
    files = {"generator": checkpoint, "segmenter": segmenter, "parameters": found}
    files = {kind: path for kind, path in files.items() if path}
    return Imported(write_run(config, modules, files, notes, results, name), tuple(notes))


def configure(
    released: dict[str, Tensor], given: dict[str, Any], parts: int | None, heatmap: Heatmap | None
) -> GeneratorConfig:
    """The generator's configuration; UserError lists every contradiction between the files by name."""
    cone = bool(number(given, "use_linear")) if "use_linear" in given else heatmap != "gaussian"
    sizes = numbers(given, "feature_map_sizes") if "feature_map_sizes" in given else None
    config = infer_generator(released, sizes, cone)
    checked = {key: field for key, field in CHECKED.items() if key in given}
    pairs = {key: (number(given, key), getattr(config, field)) for key, field in checked.items()}
    if "feature_map_channels" in given:
        pairs["feature_map_channels"] = numbers(given, "feature_map_channels"), config.block_widths
    if "single_final" in given:
        pairs["single_final"] = int(bool(number(given, "single_final"))), int(config.rgb_layers == 1)
    faults = [
        f"{key} is {_shown(said)} in parameters.json, {_shown(has)} in the checkpoint"
        for key, (said, has) in pairs.items() if said != has
    ]  # fmt: skip
    if parts not in (None, config.parts):
        faults.append(f"--parts {parts}, but the checkpoint has K = {config.parts}")
    if heatmap and (heatmap == "cone") != cone:
        faults.append(f"--heatmap {heatmap}, but use_linear is {given['use_linear']} in parameters.json")
    if faults:
        raise UserError("these do not fit the checkpoint:\n  " + "\n  ".join(faults))
    return config


def _place(found: Path | None) -> list[str]:
    """A note on a parameters.json that was not asked for; no folders above its own, as the note is published."""
    return [f"read {found.parent.resolve().name}/{found.name}"] if found else []


def _shown(value: int | tuple[int, ...]) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def assumptions(config: GeneratorConfig, given: dict[str, Any], heatmap: Heatmap | None) -> list[str]:
    """What neither the tensors nor parameters.json told, and what of the latter is not known."""
    known = (*CHECKED, *TAKEN, *USED, *IDLE)
    notes = [f"unknown in parameters.json, not used: {k} = {v}" for k, v in given.items() if k not in known]
    if not heatmap and "use_linear" not in given:
        why = "as in all released runs (--heatmap gaussian otherwise)"
        notes.append(f"no parameters.json tells use_linear: cone heatmaps are assumed, {why}")
    if "feature_map_sizes" not in given:
        blocks = _shown(config.block_sizes)
        notes.append(f"no parameters.json tells feature_map_sizes: blocks of {blocks} pixels are assumed")
    return notes


def choose_data(data: str | None, given: dict[str, Any]) -> tuple[str, list[str]]:
    """Our name of the data set: `data`, else what class_name says, else `folder`; and a note on that."""
    from ganseg.data import describe

    told = DATA.get(str(given.get("class_name")))
    name = data or told or "folder"
    notes = [] if data or told else ["the data set is not known: folder is assumed (--data NAME otherwise)"]
    if data and told and data != told:
        notes.append(f"evaluated on {data}; it was trained on {told} (class_name = {given['class_name']})")
    return describe(name).name, notes


def training_settings(data: str, generator: GeneratorConfig, given: dict[str, Any]) -> Config:
    """The released variant at the paper's scale with this generator; steps are 0: no file tells them."""
    base = resolve(data, "released", SCALE, generator.parts)
    settings = {f"generator.{key}": value for key, value in generator.model_dump().items()}
    settings |= {"data.size": generator.size, "optim.steps": 0, "segmenter.steps": 0}
    settings |= {"segmenter.backbone": "resnet50", "segmenter.output_stride": 8}
    settings |= {field: given[key] for key, field in TAKEN.items() if key in given}
    if given.get("smaller_init_mask"):  # the area of the heatmap instead of the disc's
        settings["losses.area"] = "heatmap"
    return base.replace(settings)


def load_segmenter(path: Path, config: SegmenterConfig, parts: int) -> tuple[nn.Module, list[str]]:
    """The segmentation network in `path`, and a note on what was left out."""
    state, dropped = convert_segmenter(read_tensors(path, "detector"), config, parts)
    head = "the auxiliary head (model.aux_classifier.*), which is of use in training alone"
    notes = [f"left out {len(dropped)} tensors of {head}"] if dropped else []
    return load(Segmenter(config, parts), state), notes


def load(module: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """`module` with `state`, in eval mode."""
    module.load_state_dict(state)
    return module.eval()


def write_run(
    config: Config, modules: dict[str, nn.Module], files: dict[str, Path], notes: list[str],
    results: str | Path | None, name: str | None,
) -> Path:  # fmt: skip
    """Write the run directory, config.json last; UserError where `name` is another run's."""
    sources = {kind: {"file": path.name, "sha256": _sha256(path)} for kind, path in files.items()}
    sums = [source["sha256"] for source in sources.values()]
    key = hashlib.sha256(json.dumps([sums, config.to_dict()], sort_keys=True).encode()).hexdigest()[:8]
    usual = f"{config.data.name}-{VARIANT}-k{config.generator.parts}-s{config.seed}-{key}"
    directory = results_dir(results) / SCALE / "runs" / (name or usual)
    if (directory / CONFIG).exists() and _key(directory) != key:
        raise UserError(f"{directory} is another run; choose another --name, or delete it")
    for file, module in modules.items():
        save_weights(directory / file, module)
    write_json(directory / PROVENANCE, _provenance(config, sources, key, notes))
    write_json(directory / CONFIG, {"config": config.to_dict(), "variant": VARIANT, "scale": SCALE})
    return directory


def _provenance(config: Config, sources: dict[str, Any], key: str, notes: list[str]) -> dict[str, Any]:
    epoch = re.match(r"epoch_(\d+)\.", sources["generator"]["file"])
    finished = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "imported": sources, "epoch": int(epoch[1]) if epoch else None, "notes": notes, "variant": VARIANT,
        "data": config.data.name, "parts": config.generator.parts, "seed": config.seed, "scale": SCALE,
        "key": key, "overrides": {}, "steps": None, "finished": finished,
        **provenance.git_state(), **provenance.describe_machine(torch.device("cpu")),
    }  # fmt: skip


def _key(directory: Path) -> Any:
    return read_json(directory / PROVENANCE).get("key") if (directory / PROVENANCE).exists() else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
