"""The cache of decoded images, and the registry in front of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ganseg.data import DATASETS, Source, cached, fingerprint, load
from ganseg.data.creatures import SPLITS
from ganseg.files import UserError


def make_source(count=600, stamp=(), reads=None, broken=(), spare=3):
    """Images whose every value is their number modulo 251."""

    def read(positions, size):
        if reads is not None:
            reads.append(len(positions))
        good = [p for p in positions if p not in broken]
        images = np.stack([np.full((size, size, 3), p % 251, np.uint8) for p in good])
        return {"images": images}, {f"n{p}": "bad" for p in positions if p in broken}

    return Source(tuple(f"n{i}" for i in range(count)), ("numbers",), read, stamp, spare=spare)


def test_images_are_decoded_once_and_mapped_read_only(tmp_path):
    reads = []
    for _ in range(2):
        split = cached(make_source(reads=reads), "numbers", 16, tmp_path)
    assert sum(reads) == 600 and len(reads) > 1
    assert isinstance(split.images, np.memmap) and not split.images.flags.writeable
    np.testing.assert_array_equal(split.images[:, 3, 2, 1], np.arange(600) % 251)


def test_skipped_images_leave_no_gap(tmp_path):
    broken = (0, 256, 599)
    split = cached(make_source(broken=broken), "numbers", 16, tmp_path)
    kept = [i for i in range(600) if i not in broken]
    assert split.names == tuple(f"n{i}" for i in kept)
    assert split.skipped == (("n0", "bad"), ("n256", "bad"), ("n599", "bad"))
    np.testing.assert_array_equal(split.images[:, 0, 0, 0], np.array(kept) % 251)


def test_a_changed_source_or_size_is_decoded_anew_but_a_touch_keeps_the_fingerprint(tmp_path):
    a = cached(make_source(stamp=(1,)), "numbers", 16, tmp_path)
    b = cached(make_source(stamp=(2,)), "numbers", 16, tmp_path)
    cached(make_source(stamp=(1,)), "numbers", 32, tmp_path)
    other = cached(make_source(count=500), "numbers", 16, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    assert a.fingerprint == b.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("file", "content"),
    [("images.npy", b"cut"), ("images.npy", None), ("meta.json", b"{"), ("meta.json", b"[1]"), ("meta.json", None)],
)
def test_a_damaged_cache_is_rebuilt(tmp_path, file, content, caplog):
    cached(make_source(), "numbers", 16, tmp_path)
    (folder,) = tmp_path.iterdir()
    whole = (folder / file).read_bytes()
    (folder / file).unlink()
    if content:
        (folder / file).write_bytes(whole[:-100] if content == b"cut" else content)
    split = cached(make_source(), "numbers", 16, tmp_path)
    np.testing.assert_array_equal(split.images[:, 3, 2, 1], np.arange(600) % 251)
    assert ("damaged" in caplog.text) == ((file, content) != ("meta.json", None))


def test_a_failure_while_decoding_leaves_nothing_that_is_taken_for_whole(tmp_path):
    source, failing = make_source(), [True]

    def read(positions, size):
        if positions[0] > 0 and failing:
            raise RuntimeError("killed")
        return source.read(positions, size)

    slow = Source(source.names, source.identity, read)
    with pytest.raises(RuntimeError, match="killed"):
        cached(slow, "numbers", 16, tmp_path)
    failing.clear()
    assert len(cached(slow, "numbers", 16, tmp_path)) == 600


def test_more_unreadable_images_than_can_be_spared_are_refused_with_numbers_and_names(tmp_path):
    message = r"numbers: 2 images or their masks cannot be read \(n4: bad, n5: bad\).*; 1 of 600 can be left out"
    with pytest.raises(UserError, match=message):
        cached(make_source(broken=(4, 5), spare=1), "numbers", 16, tmp_path)


def test_several_may_build_the_same_cache_at_once(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(load, "synthetic", "test", 16, cache_dir=tmp_path, limit=300) for _ in range(4)]
        images = [job.result().images for job in jobs]
    assert all(np.array_equal(images[0], other) for other in images)
    assert [path.name[:19] for path in tmp_path.iterdir()] == ["synthetic-bird-test"]


def test_a_cache_that_cannot_be_written_is_a_users_mistake(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="GANSEG_CACHE"):
        cached(make_source(), "numbers", 16, tmp_path / "file")


def test_load_gives_every_array_of_a_synthetic_split_in_the_folder_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GANSEG_CACHE", str(tmp_path))
    split = load("synthetic", "val", 32, limit=40)
    assert split.fingerprint == load("synthetic-bird", "val", 32, limit=40).fingerprint
    assert len(split) == 40 and split.size == 32 and split.images.shape == (40, 32, 32, 3)
    assert split.parts.shape == split.foreground.shape == (40, 32, 32)
    assert split.keypoints.shape == (40, len(split.keypoint_names), 2) and split.visible.dtype == bool
    assert split.part_names == ("head", "body", "wing", "tail", "legs")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_limit_spreads_over_the_split(tmp_path):
    split = load("synthetic-face", "test", 16, cache_dir=tmp_path, limit=10)
    assert split.names == tuple(f"synthetic-face-{i:06d}" for i in range(11_000, 12_000, 100))


@pytest.mark.parametrize(
    ("name", "split", "more", "message"),
    [
        ("birds", "train", {}, "known are synthetic, synthetic-bird"),
        ("synthetic", "dev", {}, "train, val, test"),
        ("synthetic", "train", {"size": 8}, "16 or more"),
        ("synthetic", "train", {"limit": 0}, "1 or more"),
        ("flowers", "train", {}, "needs its folder"),
        ("flowers", "train", {"data_dir": "/nowhere"}, "is missing"),
        ("folder", "train", {"data_dir": __file__}, "not a folder"),
    ],
)
def test_mistakes_are_refused_with_what_would_be_right(tmp_path, name, split, more, message):
    with pytest.raises(UserError, match=message):
        load(name, split, **{"size": 32, "cache_dir": tmp_path, **more})


def test_the_registry_describes_every_data_set():
    for name, data in DATASETS.items():
        assert (
            data.title and data.how_to_get and {"train", "test"} <= {*data.splits} and name in (data.name, "synthetic")
        )
    drawn = {"train": range(0, 10_000), "val": range(10_000, 11_000), "test": range(11_000, 12_000)}
    assert drawn == SPLITS and DATASETS["synthetic"].counts == {split: len(numbers) for split, numbers in drawn.items()}


def test_the_fingerprint_of_a_data_set_is_that_of_its_images(tmp_path):
    assert fingerprint("synthetic-bird") == fingerprint("synthetic") != fingerprint("synthetic-face")
    assert fingerprint("folder") == ""
    for i in range(64):
        (tmp_path / f"{i}.jpg").write_bytes(b"x" * (i + 1))
    before = fingerprint("folder", tmp_path)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "1.png").write_bytes(b"a label")
    assert fingerprint("folder", tmp_path) == before
    (tmp_path / "3.jpg").write_bytes(b"another image")
    assert fingerprint("folder", tmp_path) != before
