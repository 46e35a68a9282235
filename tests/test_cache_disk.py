"""The SQLite cache: bounds, eviction, damage, and a process killed while it writes."""

import logging
import os
import random
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cache import CacheError, DiskCache

MIB = 1 << 20
ROOT = Path(__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deeper" / "tiles.sqlite"


def test_values_survive_closing_and_opening(path: Path) -> None:
    cache = DiskCache(path, MIB)
    cache.put("a", b"one")
    cache.put("a", b"two")
    cache.put("empty", b"")
    cache.close()
    again = DiskCache(path, MIB)
    assert again.get("a") == b"two"
    assert again.get("empty") == b""
    assert again.get("b") is None
    assert len(again) == 2
    again.delete("a")
    assert again.get("a") is None


def test_bytes_on_disk_stay_below_the_bound(path: Path) -> None:
    cache = DiskCache(path, MIB)
    sizes = random.Random(0)
    for i in range(600):
        cache.put(f"tile/{i}", os.urandom(sizes.randrange(1000, 60_000)))
        assert cache.bytes <= MIB
    assert cache.bytes > 0.8 * MIB
    assert cache.get("tile/599") is not None
    assert cache.get("tile/0") is None
    cache.close()
    assert path.stat().st_size < 1.2 * MIB


def test_entries_used_last_outlive_the_others(path: Path) -> None:
    cache = DiskCache(path, MIB)
    for i in range(20):
        cache.put(f"old/{i}", bytes(10_000))
    for i in range(200):
        assert cache.get("old/3") is not None
        cache.put(f"new/{i}", bytes(10_000))
    assert cache.get("old/3") is not None
    assert cache.get("old/4") is None


def test_a_value_larger_than_the_bound_is_not_kept(path: Path) -> None:
    cache = DiskCache(path, MIB)
    cache.put("small", b"x")
    cache.put("large", bytes(MIB + 1))
    assert cache.get("large") is None
    assert cache.get("small") == b"x"


def test_a_lowered_bound_shrinks_the_file(path: Path) -> None:
    cache = DiskCache(path, 4 * MIB)
    for i in range(100):
        cache.put(str(i), bytes(30_000))
    cache.close()
    before = path.stat().st_size
    smaller = DiskCache(path, MIB)
    assert smaller.bytes <= MIB
    assert smaller.get("99") is not None
    smaller.close()
    assert path.stat().st_size < before / 2


def test_a_damaged_entry_is_dropped_and_reported_as_a_miss(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = DiskCache(path, MIB)
    cache.put("good", b"good")
    cache.put("bad", b"value as written")
    with sqlite3.connect(path) as other:
        other.execute("UPDATE content SET value = ? WHERE value = ?", (b"value as damaged", b"value as written"))
    other.close()
    with caplog.at_level(logging.WARNING):
        assert cache.get("bad") is None
    assert "damaged" in caplog.text
    assert len(cache) == 1
    assert cache.get("good") == b"good"
    cache.put("bad", b"anew")
    assert cache.get("bad") == b"anew"


def test_an_entry_without_its_content_is_a_miss(path: Path) -> None:
    cache = DiskCache(path, MIB)
    cache.put("a", b"x")
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM content")
    other.close()
    assert cache.get("a") is None
    assert len(cache) == 0


def test_a_file_that_is_no_database_is_set_aside_with_one_line(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is not a database" * 1000)
    with caplog.at_level(logging.WARNING):
        cache = DiskCache(path, MIB)
    assert len(caplog.records) == 1
    assert "set aside" in caplog.text
    assert path.with_name("tiles.sqlite.corrupt").exists()
    cache.put("a", b"x")
    assert cache.get("a") == b"x"


def test_a_file_damaged_while_in_use_is_replaced(path: Path) -> None:
    cache = DiskCache(path, 4 * MIB)
    for i in range(100):
        cache.put(str(i), os.urandom(20_000))
    cache.close()
    cache = DiskCache(path, 4 * MIB)
    with path.open("r+b") as file:  # leaves the header alone, so that opening succeeds and reading fails
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    values = [cache.get(str(i)) for i in range(100)]
    assert all(value is None for value in values)
    cache.put("a", b"x")
    assert cache.get("a") == b"x"
    cache.close()
    assert DiskCache(path, MIB).get("a") == b"x"


def test_an_older_layout_is_emptied(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE entry (something TEXT)")
    other.close()
    cache = DiskCache(path, MIB)
    cache.put("a", b"x")
    assert cache.get("a") == b"x"


def test_an_unwritable_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="another cache directory") as raised:
        DiskCache(tmp_path / "file" / "tiles.sqlite", MIB)
    assert "\n" not in str(raised.value)


def test_nothing_raises_once_it_is_open(path: Path) -> None:
    cache = DiskCache(path, MIB)
    cache.put("a", b"x")
    cache.close()
    cache.put("b", b"y")
    assert cache.get("a") is None


def test_two_connections_share_one_file_from_many_threads(path: Path) -> None:
    caches = [DiskCache(path, 8 * MIB), DiskCache(path, 8 * MIB)]

    def work(thread: int) -> int:
        cache = caches[thread % 2]
        for i in range(50):
            cache.put(f"{thread}/{i}", bytes([thread]) * 1000)
        return sum(cache.get(f"{thread}/{i}") == bytes([thread]) * 1000 for i in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [50] * 4
    assert caches[0].get("1/7") == caches[1].get("1/7") == bytes([1]) * 1000


WRITER = """
import os, sys
from pathlib import Path
from cache import DiskCache
cache = DiskCache(Path(sys.argv[1]), 4 << 20)
i = 0
while True:
    cache.put(str(i), i.to_bytes(4, "big") * 5000)
    print(i, flush=True)
    i += 1
"""


def test_a_writer_killed_with_signal_9_leaves_a_readable_cache(path: Path) -> None:
    for round_ in range(3):
        root = Path(__file__).resolve().parents[1]
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=root)
        assert writer.stdout is not None
        last = -1
        deadline = time.monotonic() + 0.2 + 0.1 * round_
        while time.monotonic() < deadline or last < 20:
            last = int(writer.stdout.readline())
        writer.kill()
        writer.wait()
        writer.stdout.close()
        cache = DiskCache(path, 4 * MIB)
        assert cache.get(str(last)) == last.to_bytes(4, "big") * 5000, "what was acknowledged is there"
        with sqlite3.connect(path) as other:
            assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            orphans = "SELECT count(*) FROM entry FULL JOIN content ON content.id = content WHERE key IS NULL OR value IS NULL"
            assert other.execute(orphans).fetchone() == (0,)
        other.close()
        cache.close()
    assert not path.with_name("tiles.sqlite.corrupt").exists()


def test_processes_that_open_a_new_file_at_once_share_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cache import DiskCache\n"
        "cache = DiskCache(Path(sys.argv[1]), 1 << 24); name = sys.argv[2]\n"
        "for number in range(50): cache.put(f'{name}-{number}', f'{name} {number}'.encode() * 100)\n"
        "cache.close()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "new.sqlite")]
    processes = [subprocess.Popen([*command, str(n)], cwd=ROOT, stderr=subprocess.PIPE) for n in range(4)]
    for process in processes:
        assert (process.communicate(timeout=120)[1], process.returncode) == (b"", 0)
    cache = DiskCache(tmp_path / "new.sqlite", 1 << 24)
    assert len(cache) == 200
    assert all(cache.get(f"{n}-{number}") == f"{n} {number}".encode() * 100 for n in range(4) for number in range(50))


def test_what_is_there_is_told_without_reading_it(path: Path) -> None:
    cache = DiskCache(path, 4 * MIB)
    for i in range(1200):
        cache.put(str(i), b"x")
    assert cache.contains([str(i) for i in range(600, 1800)]) == {str(i) for i in range(600, 1200)}
    assert cache.contains([]) == set()
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM content WHERE id = (SELECT id FROM entry WHERE key = '7')")
    other.close()
    assert cache.contains(["7", "8"]) == {"8"}, "half of an entry is none"


def test_what_is_put_once_is_stored_once_until_nobody_has_it(path: Path) -> None:
    cache = DiskCache(path, 4 * MIB)
    for i in range(100):
        cache.put(f"sea/{i}", b"blue" * 2000, once=True)
    cache.put("other", b"blue" * 2000)
    assert (len(cache), cache.contents) == (101, 2)
    assert cache.bytes < 100_000
    assert all(cache.get(f"sea/{i}") == b"blue" * 2000 for i in range(100))
    cache.put("sea/0", b"land", once=True)
    cache.delete_many([f"sea/{i}" for i in range(1, 100)])
    assert sorted(cache.keys()) == ["other", "sea/0"]
    assert cache.contents == 2


def test_a_damaged_content_is_dropped_for_all_and_can_be_stored_again(path: Path) -> None:
    cache = DiskCache(path, MIB)
    for i in range(3):
        cache.put(f"sea/{i}", b"blue" * 200, once=True)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE content SET value = zeroblob(length(value))")
    other.close()
    cache.put("sea/3", b"blue" * 200, once=True)
    assert cache.get("sea/3") == b"blue" * 200
    assert cache.get("sea/1") is None
    cache.put("sea/1", b"blue" * 200, once=True)
    assert cache.get("sea/1") == b"blue" * 200
    assert sorted(cache.keys()) == ["sea/1", "sea/3"]
    assert cache.contents == 1
    assert cache.sound()
