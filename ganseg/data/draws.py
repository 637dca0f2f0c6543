"""Counter-based random numbers: draw number j of item i depends on (stream, seed, i, j) and on nothing else.

So a scene is the same in a batch of one and in a batch of a thousand, and no NumPy release can change it.
The mixing function is SplitMix64 (Steele, Lea and Flood 2014).
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser on uint64 of any shape: every output bit depends on every input bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def key_of(*parts: object) -> np.uint64:
    """64 bits that stand for the given values (their `repr`)."""
    return np.frombuffer(hashlib.sha256(repr(parts).encode()).digest()[:8], dtype="<u8")[0]


class Draws:
    """Independent uniform draws for N items; consecutive calls use consecutive counters."""

    def __init__(self, stream: str, seed: int, items: np.ndarray) -> None:
        """`items`: (N,) non-negative integers that name the items."""
        items = np.asarray(items).astype(np.uint64)
        self._state = mix(items * GOLDEN + key_of(stream, int(seed)))
        self._used = 0

    def bits(self, *shape: int) -> np.ndarray:
        """(N, *shape) uint64."""
        count = math.prod(shape)
        counters = (np.arange(self._used, self._used + count, dtype=np.uint64) + np.uint64(1)) * GOLDEN
        self._used += count
        return mix(self._state[:, None] + counters).reshape(-1, *shape)  # (N, count) -> (N, *shape)

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """(N, *shape) float32 in [low, high)."""
        unit = (self.bits(*shape) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        return unit * np.float32(high - low) + np.float32(low)

    def chance(self, probability: float, *shape: int) -> np.ndarray:
        """(N, *shape) bool, true with `probability`."""
        return self.uniform(0.0, 1.0, *shape) < probability
