"""The cache of decoded images, and the registry in front of it."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ganseg.data import DATASETS, cache, load
from ganseg.data.npy import RowWriter
from ganseg.data.source import Chunk, Source
from ganseg.files import UserError


def make_source(count=600, stamp=(), reads=None, broken=()):
    """Images whose every value is their number modulo 251."""

    def read(positions, size):
        if reads is not None:
            reads.append(len(positions))
        good = [p for p in positions if p not in broken]
        images = np.stack([np.full((size, size, 3), p % 251, np.uint8) for p in good])
        return Chunk({"images": images}, tuple((i, "bad") for i, p in enumerate(positions) if p in broken))

    return Source(tuple(f"n{i}" for i in range(count)), ("numbers",), read, stamp)


def test_images_are_decoded_once_and_mapped_read_only(tmp_path):
    reads = []
    for _ in range(2):
        split = cache.cached(make_source(reads=reads), "numbers", 16, tmp_path)
    assert sum(reads) == 600 and len(reads) > 1
    assert isinstance(split.images, np.memmap) and not split.images.flags.writeable
    np.testing.assert_array_equal(split.images[:, 3, 2, 1], np.arange(600) % 251)


def test_skipped_images_leave_no_gap(tmp_path):
    broken = (0, 256, 599)
    split = cache.cached(make_source(broken=broken), "numbers", 16, tmp_path)
    kept = [i for i in range(600) if i not in broken]
    assert split.names == tuple(f"n{i}" for i in kept) and [n for n, _ in split.skipped] == [
        "n0",
        "n256",
        "n599",
    ]
    np.testing.assert_array_equal(split.images[:, 0, 0, 0], np.array(kept) % 251)


def test_a_changed_source_or_size_is_decoded_anew_but_a_touch_keeps_the_fingerprint(tmp_path):
    a = cache.cached(make_source(stamp=(1,)), "numbers", 16, tmp_path)
    b = cache.cached(make_source(stamp=(2,)), "numbers", 16, tmp_path)
    cache.cached(make_source(stamp=(1,)), "numbers", 32, tmp_path)
    other = cache.cached(make_source(count=500), "numbers", 16, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    assert a.fingerprint == b.fingerprint != other.fingerprint


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "meta", "no meta", "wrong meta"])
def test_a_damaged_cache_is_rebuilt(tmp_path, damage, caplog):
    cache.cached(make_source(), "numbers", 16, tmp_path)
    (folder,) = tmp_path.iterdir()
    images, meta = folder / "images.npy", folder / "meta.json"
    data = images.read_bytes()
    {
        "flip": lambda: images.write_bytes(data[:-9] + b"\xff" + data[-8:]),
        "cut": lambda: images.write_bytes(data[:-100]),
        "remove": images.unlink,
        "meta": lambda: meta.write_text("{"),
        "no meta": meta.unlink,
        "wrong meta": lambda: meta.write_text(json.dumps([1])),
    }[damage]()
    split = cache.cached(make_source(), "numbers", 16, tmp_path)
    np.testing.assert_array_equal(split.images[:, 3, 2, 1], np.arange(600) % 251)
    assert "damaged" in caplog.text and len(list(tmp_path.iterdir())) == 1


def test_a_failure_while_decoding_leaves_nothing_behind(tmp_path):
    def read(positions, size):
        if positions[0] > 0:
            raise RuntimeError("killed")
        return Chunk({"images": np.zeros((len(positions), size, size, 3), np.uint8)})

    source = Source(tuple(map(str, range(600))), ("x",), read)
    with pytest.raises(RuntimeError, match="killed"):
        cache.cached(source, "x", 16, tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_process_may_finish_first(tmp_path):
    source = make_source()
    raced = []

    def read(positions, size):
        if not raced:
            raced.append(cache.cached(source, "numbers", 16, tmp_path))  # the other one starts later and is done sooner
        return source.read(positions, size)

    slow = Source(source.names, source.identity, read)
    split = cache.cached(slow, "numbers", 16, tmp_path)
    np.testing.assert_array_equal(split.images, raced[0].images)
    assert len(list(tmp_path.iterdir())) == 1


def test_several_may_build_the_same_cache_at_once(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(load, "synthetic", "test", 16, cache_dir=tmp_path, limit=300) for _ in range(4)]
        images = [job.result().images for job in jobs]
    assert all(np.array_equal(images[0], other) for other in images)
    assert [path.name[:19] for path in tmp_path.iterdir()] == ["synthetic-bird-test"]


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path):
    old, young = tmp_path / ".old.1.tmp", tmp_path / ".young.2.tmp"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    cache.cached(make_source(), "numbers", 16, tmp_path)
    assert not old.exists() and young.exists()


def test_a_cache_that_cannot_be_written_is_a_users_mistake(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="GANSEG_CACHE"):
        cache.cached(make_source(), "numbers", 16, tmp_path / "file")


def test_the_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GANSEG_CACHE", str(tmp_path / "mine"))
    assert cache.default_cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("GANSEG_CACHE")
    assert cache.default_cache_dir().name in ("ganseg", "cache")


@pytest.mark.parametrize("rows", [0, 3, 250])
def test_rows_written_one_by_one_are_an_npy_file(tmp_path, rows):
    data = np.arange(rows * 6, dtype=np.float32).reshape(rows, 2, 3)
    writer = RowWriter(tmp_path / "a.npy", (2, 3), np.dtype(np.float32))
    for row in data:
        writer.append(row[None])
    writer.close(complete=True)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), data)


def test_load_gives_every_array_of_a_synthetic_split(tmp_path):
    split = load("synthetic", "val", 32, cache_dir=tmp_path, limit=40)
    bird = load("synthetic-bird", "val", 32, cache_dir=tmp_path, limit=40)
    assert len(split) == 40 and split.size == 32 and split.fingerprint == bird.fingerprint
    assert split.images.shape == (40, 32, 32, 3) and split.parts.shape == split.foreground.shape == (
        40,
        32,
        32,
    )
    assert split.keypoints.shape == (40, len(split.keypoint_names), 2) and split.visible.dtype == bool
    assert split.part_names == ("head", "body", "wing", "tail", "legs")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_limit_spreads_over_the_split(tmp_path):
    split = load("synthetic-face", "test", 16, cache_dir=tmp_path, limit=10)
    assert split.names == tuple(f"synthetic-face-{i:06d}" for i in range(11_000, 12_000, 100))


def test_mistakes_are_refused_with_what_would_be_right(tmp_path):
    cases = [
        (("birds", "train", 32), {}, "known are synthetic, synthetic-bird"),
        (("synthetic", "dev", 32), {}, "train, val, test"),
        (("folder", "val", 32), {"data_dir": tmp_path}, "train, test"),
        (("synthetic", "train", 8), {}, "16 or more"),
        (("synthetic", "train", 32), {"limit": 0}, "1 or more"),
        (("flowers", "train", 32), {}, "needs its folder"),
        (("flowers", "train", 32), {"data_dir": tmp_path / "nowhere"}, "is missing"),
        (("folder", "train", 32), {"data_dir": __file__}, "not a folder"),
    ]
    for args, more, message in cases:
        with pytest.raises(UserError, match=message):
            load(*args, cache_dir=tmp_path / "c", **more)


def test_the_registry_describes_every_data_set():
    for name, spec in DATASETS.items():
        assert spec.title and spec.how_to_get and "train" in spec.splits and "test" in spec.splits
        assert spec.augment in ("none", "flip", "crop_flip") and (name == spec.name or name == "synthetic")
