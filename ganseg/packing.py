"""Results on their way from one machine to another: packed with a manifest, checked, merged.

A pack is laid out as `results/` is: the light files of finished runs, executed notebooks, figures and tables,
and, where asked for, weights in files of at most 16 MiB. `manifest.json` comes last and holds the size and
SHA-256 of every file: without it, or where a file differs from it, a pack is not whole.

A training checkpoint (networks, averaged generator, both moments of Adam, all in fp32) is several times as
large as the weights in bfloat16. It is not packed: an interrupted training goes on only where it lies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from shutil import copyfile as copy_file
from typing import TYPE_CHECKING

from ganseg.experiments import CONFIG, GENERATOR, HISTORY, METRICS, PROVENANCE, SEGMENTER
from ganseg.files import UserError, atomic_path, read_json, results_dir, write_json

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "manifest.json"
LIGHT = (
    CONFIG,
    PROVENANCE,
    HISTORY,
    "samples.png",
    "segmentation.png",
    METRICS,
)  # of a run; what makes it finished comes last
FOLDERS = ("notebooks", "figures", "tables", "bench")  # of a scale
SHARD = 2**24  # bytes of the largest file that holds weights
HEADER = 2**16  # bytes of it kept free for safetensors' header


@dataclass
class Packed:
    """What a pack holds: its files, relative to its folder, and the weights that did not fit."""

    files: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def pack(scale: str, out: str | Path, results: str | Path | None = None, weights_mb: float = 0) -> Packed:
    """Copy what was measured at `scale` into `out`, with at most `weights_mb` MiB of weights; manifest last.

    Packing again into the same folder refreshes it.
    """
    source, out, packed = results_dir(results), Path(out), Packed()
    (out / MANIFEST).unlink(missing_ok=True)
    runs = sorted(
        (path.parent for path in source.glob(f"{scale}/runs/*/{METRICS}")),
        key=lambda run: (run / METRICS).stat().st_mtime,
    )
    for path in _light_files(source, scale, runs):
        packed.files.append(_copy(source, out, path.relative_to(source).as_posix()))
    room = int(weights_mb * 2**20)
    for weights in (
        run / name for run in runs for name in (GENERATOR, SEGMENTER) if (run / name).exists() and weights_mb
    ):
        relative = weights.relative_to(source)
        shards = split_weights(weights, out / relative.parent, room)
        packed.files += [path.relative_to(out).as_posix() for path in shards]
        packed.left_out += [] if shards else [relative.as_posix()]
        room -= sum(path.stat().st_size for path in shards)
    write_json(out / MANIFEST, {"files": {name: _stamp(out / name) for name in packed.files}})
    return packed


def unpack(folder: str | Path, results: str | Path | None = None) -> list[Path]:
    """Check the pack in `folder`, merge it into `results`; returns the runs that are new or got weights.

    A run that is there already is left as it is, but for weights that it lacks. UserError where the pack is
    not whole.
    """
    folder, target = Path(folder), results_dir(results)
    files, changed = _checked(folder), []
    runs = {PurePosixPath(name).parent for name in files if PurePosixPath(name).name == METRICS}
    for name in files:
        if PurePosixPath(name).parent not in runs:
            _copy(folder, target, name)
    for run in sorted(runs):
        new = not (target / run / METRICS).exists()
        names = [light for light in LIGHT if new and f"{run}/{light}" in files]
        for light in names[:-1]:
            _copy(folder, target, f"{run}/{light}")
        joined = [_joined(folder / run, target / run, weights) for weights in (GENERATOR, SEGMENTER)]
        if new:
            _copy(folder, target, f"{run}/{METRICS}")
        if new or any(joined):
            changed.append(target / run)
    return changed


def split_weights(path: Path, folder: Path, room: int) -> list[Path]:
    """Write the tensors of `path` as `<stem>-00001-of-0000N.safetensors`, each at most 16 MiB.

    None at all where they exceed `room` bytes together. Kernels and matrices are rounded to bfloat16; vectors
    (biases, statistics) and integers are kept as they are.
    """
    from safetensors.torch import load_file, save_file

    tensors = {name: t.bfloat16() if t.is_floating_point() and t.ndim > 1 else t for name, t in load_file(path).items()}
    groups = _grouped(tensors)
    sizes = [sum(t.nbytes for t in group.values()) + HEADER for group in groups]
    if max(sizes) > SHARD or sum(sizes) > room:
        return []
    shards = [folder / f"{path.stem}-{i:05d}-of-{len(groups):05d}.safetensors" for i in range(1, len(groups) + 1)]
    newer = all(shard.exists() and shard.stat().st_mtime >= path.stat().st_mtime for shard in shards)
    for shard, group in zip(shards, groups, strict=True) if not newer else ():
        with atomic_path(shard) as temporary:
            save_file({name: t.contiguous() for name, t in group.items()}, temporary)
            temporary.chmod(0o644)
    return shards


def join_weights(folder: Path, stem: str, target: Path) -> bool:
    """Write the shards of `stem` in `folder` as one file `target`, in fp32; False where any is missing."""
    from safetensors.torch import load_file, save_file

    shards = sorted(folder.glob(f"{stem}-*-of-*.safetensors"))
    if not shards or len(shards) != int(shards[0].stem.rpartition("-")[2]):
        return False
    tensors = {
        name: t.float() if t.is_floating_point() else t for shard in shards for name, t in load_file(shard).items()
    }
    with atomic_path(target) as temporary:
        save_file(tensors, temporary)
        temporary.chmod(0o644)
    return True


def _joined(source: Path, run: Path, weights: str) -> bool:
    """Join `weights` unless the run has them; its provenance then says that they are rounded."""
    if (run / weights).exists() or not join_weights(source, Path(weights).stem, run / weights):
        return False
    record = read_json(run / PROVENANCE)
    write_json(run / PROVENANCE, record | {"weights": "rounded to bfloat16 when they were packed"})
    return True


def _light_files(results: Path, scale: str, runs: list[Path]) -> Iterator[Path]:
    yield from (run / name for run in runs for name in LIGHT if (run / name).exists())
    for folder in FOLDERS:
        found = sorted((results / scale / folder).glob("*"))
        yield from (
            path
            for path in found
            if path.is_file() and not path.name.startswith(".") and ".failed" not in path.suffixes
        )


def _copy(source: Path, target: Path, name: str) -> str:
    """Copy the file `name` from folder to folder, whole or not at all; returns its name."""
    with atomic_path(target / name) as temporary:
        copy_file(source / name, temporary)
    return name


def _grouped(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors, in their order, in groups that fit into a shard each (one that does not stands alone)."""
    groups: list[dict[str, Tensor]] = [{}]
    size = HEADER
    for name, tensor in tensors.items():
        if groups[-1] and size + tensor.nbytes > SHARD:
            groups.append({})
            size = HEADER
        groups[-1][name] = tensor
        size += tensor.nbytes
    return groups


def _stamp(path: Path) -> dict[str, int | str]:
    """Size in bytes, and SHA-256."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _checked(folder: Path) -> list[str]:
    """The names of the files of a whole pack; UserError for any other folder."""
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} is not a whole pack: it has no {MANIFEST}, which is written last; pack again")
    files = read_json(folder / MANIFEST)["files"]
    outside = [name for name in files if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        raise UserError(f"{folder / MANIFEST} names files outside of the pack: {outside[0]}")
    wrong = [name for name, stamp in files.items() if not (folder / name).is_file() or _stamp(folder / name) != stamp]
    if wrong:
        raise UserError(
            f"{folder} is not whole: {', '.join(wrong[:3])}{', ...' * (len(wrong) > 3)} missing or changed; "
            "copy it again"
        )
    return list(files)
