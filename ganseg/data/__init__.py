"""Data sets: `load(name, split, size)` gives a `Split`, `Batches` makes training batches of it."""

from ganseg.data.batches import AUGMENTATIONS, Batches
from ganseg.data.cache import default_cache_dir
from ganseg.data.registry import DATASETS, DatasetSpec, describe, fingerprint, load
from ganseg.data.split import Split

__all__ = [
    "AUGMENTATIONS", "DATASETS", "Batches", "DatasetSpec", "Split", "default_cache_dir", "describe",
    "fingerprint", "load",
]  # fmt: skip
