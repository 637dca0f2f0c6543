"""The cache of decoded images, and the registry in front of it."""

import hashlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest

from ganseg.data import DATASETS, Listing, Sample, cached, fingerprint, load
from ganseg.data.creatures import SPLITS
from ganseg.data.files import contents
from ganseg.files import UserError

pytestmark = pytest.mark.usefixtures("cache")


def listing(count=600, drawing="numbers", drawn=None, broken=()):
    """Images whose every value is their number modulo 251; `drawn` counts them."""

    def draw(names, size):
        for name in names:
            number = int(name[1:])
            if drawn is not None:
                drawn.append(number)
            image = np.full((size, size, 3), number % 251, np.uint8)
            yield ValueError("bad") if number in broken else {"images": image}

    samples = [Sample(f"n{i}") for i in range(count)]
    return Listing({"all": samples}, draw=draw, drawing=(drawing,), spare={"all": 3})


def test_images_are_decoded_once_and_mapped_read_only():
    drawn = []
    for _ in range(2):
        split = cached(listing(drawn=drawn), "numbers", 16)
    assert len(drawn) == 600 and isinstance(split.images, np.memmap) and not split.images.flags.writeable
    np.testing.assert_array_equal(split.images[:, 3, 2, 1], np.arange(600) % 251)


def test_skipped_images_leave_no_gap_and_are_told():
    broken = (0, 256, 599)
    split = cached(listing(broken=broken), "numbers", 16)
    kept = [i for i in range(600) if i not in broken]
    assert split.names == tuple(f"n{i}" for i in kept)
    assert split.skipped == ("n0: bad", "n256: bad", "n599: bad")
    np.testing.assert_array_equal(split.images[:, 0, 0, 0], np.array(kept) % 251)
    (said,) = split.oddities
    assert said.startswith("3 unreadable images are left out (n0: bad, n256: bad, n599: bad)")


def test_another_drawing_number_or_size_is_decoded_anew(cache):
    for made, size in ((listing(), 16), (listing(), 32), (listing(drawing="others"), 16), (listing(count=500), 16)):
        cached(made, "numbers", size)
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize(
    ("file", "content"),
    [("images.npy", b"cut"), ("images.npy", None), ("meta.json", b"{"), ("meta.json", b"[1]"), ("meta.json", None)],
)
def test_a_damaged_cache_is_rebuilt(cache, file, content, caplog):
    cached(listing(), "numbers", 16)
    (folder,) = cache.iterdir()
    whole = (folder / file).read_bytes()
    (folder / file).unlink()
    if content:
        (folder / file).write_bytes(whole[:-100] if content == b"cut" else content)
    split = cached(listing(), "numbers", 16)
    np.testing.assert_array_equal(split.images[:, 3, 2, 1], np.arange(600) % 251)
    assert ("damaged" in caplog.text) == ((file, content) != ("meta.json", None))


def test_a_cache_of_objects_is_made_anew_and_not_unpickled(cache):
    cached(listing(), "numbers", 16)
    (folder,) = cache.iterdir()
    np.save(folder / "images.npy", np.full((600, 16, 16, 3), None), allow_pickle=True)
    assert cached(listing(), "numbers", 16).images.dtype == np.uint8


def test_a_failure_while_decoding_leaves_nothing_that_is_taken_for_whole():
    class Killed:
        def append(self, number):
            if number == 300:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        cached(listing(drawn=Killed()), "numbers", 16)
    assert len(cached(listing(), "numbers", 16)) == 600


def test_several_may_build_the_same_cache_at_once(cache):
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(load, "synthetic", "test", 16, limit=300) for _ in range(4)]
        images = [job.result().images for job in jobs]
    assert all(np.array_equal(images[0], other) for other in images)
    assert [path.name[:19] for path in cache.iterdir()] == ["synthetic-bird-test"]


def test_a_cache_that_cannot_be_written_is_a_users_mistake(cache):
    cache.touch()
    with pytest.raises(UserError, match="GANSEG_CACHE"):
        cached(listing(), "numbers", 16)


def test_a_limit_spreads_over_the_split_whose_parts_have_names():
    split = load("synthetic-face", "test", 16, limit=10)
    assert split.names == tuple(f"synthetic-face-{i:06d}" for i in range(11_000, 12_000, 100))
    assert (split.size, len(split.part_names)) == (16, 6)
    assert load("synthetic", "val", 16).part_names == ("head", "body", "wing", "tail", "legs")


def test_the_registry_describes_every_data_set():
    for name, data in DATASETS.items():
        assert data.title and data.how_to_get and {"train", "test"} <= {*data.splits}
        assert name in (data.name, "synthetic")
    drawn = {"train": range(0, 10_000), "val": range(10_000, 11_000), "test": range(11_000, 12_000)}
    assert drawn == SPLITS and DATASETS["synthetic"].counts == {split: len(numbers) for split, numbers in drawn.items()}


def test_the_fingerprint_of_a_drawn_set_is_that_of_its_drawing():
    assert fingerprint("synthetic-bird") == fingerprint("synthetic") == "21dc2b75b74459bb"  # runs are known by these
    assert fingerprint("synthetic-camouflage") == "16862990d99cccd7"
    assert fingerprint("synthetic-face") == "78716cc1a3076818"
    assert fingerprint("folder") == ""


def test_what_files_hold_is_remembered_once_a_file_and_found_again_after_it_changes(tmp_path, monkeypatch):
    memory, file = tmp_path / "memory", tmp_path / "file"
    file.write_text("one")
    first = contents([file, tmp_path / "missing"], memory)
    with monkeypatch.context() as still:
        still.setattr(hashlib, "file_digest", None)  # nothing is read
        assert contents([file, tmp_path / "missing"], memory) == first and first[1] == ""
    file.write_text("three")
    second = contents([file], memory)
    assert second != first[:1] and len(second[0]) == 16
    with closing(sqlite3.connect(memory)) as base:
        assert base.execute("SELECT count(*), max(content) FROM held").fetchone() == (1, *second)
    memory.write_bytes(b"no database" * 100)
    assert contents([file], memory) == contents([file], memory) == second and memory.read_bytes()[:6] == b"SQLite"
