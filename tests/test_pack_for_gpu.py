"""What travels to a lent GPU: a balanced share of the training images, within its size, and none that is held out."""

from __future__ import annotations

from pathlib import Path

from bench.pack_for_gpu import share_of


def images(folder: Path, source: str, gsd: float, count: int, size: int) -> list[dict[str, str]]:
    """``count`` files of ``size`` bytes of one source, with their rows of a manifest."""
    rows = [{"file": f"{source}{index}.jpg", "gsd_m": str(gsd), "source": source} for index in range(count)]
    for row in rows:
        (folder / row["file"]).write_bytes(bytes(size))
    return rows


def test_large_sources_give_by_the_root_of_their_size_and_small_ones_all(tmp_path: Path) -> None:
    rows = (
        images(tmp_path, "large", 500, 400, 10)
        + images(tmp_path, "middling", 10, 100, 10)
        + images(tmp_path, "small", 1, 1, 10)
    )
    rows += images(tmp_path, "huge", 0.1, 1, 10**6)
    chosen = [row["source"] for row in share_of(rows, tmp_path, 910)]
    counts = {source: chosen.count(source) for source in ("large", "middling", "small", "huge")}
    assert counts == {"large": 60, "middling": 30, "small": 1, "huge": 0}
