"""Packs what bench/on_gpu.sh needs beside the repository into .gpu/: the base picture and a share of the imagery.

A lent GPU machine may reach no network and take only so many bytes with the working tree. The share is balanced over
sources and octaves of ground resolution until `--mib` is reached. Held-out images stay behind: weights are evaluated at
home, where that costs no lease.

What is more than a lease takes at a time goes in parts: with `--part-mib 60` files are spread over .gpu/part-1, .gpu/part-2
and so on, to be carried one by one and put together there: cp -r .gpu/part-*/. .gpu/
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import shutil
from collections import defaultdict
from pathlib import Path

from model.base import find_source
from model.training.imagery import holdout_names

TARGET = Path(".gpu")


def share_of(rows: list[dict[str, str]], imagery: Path, limit: int) -> list[dict[str, str]]:
    """Rows of the manifest whose files together take at most `limit` bytes: of each (source, octave) in the measure of the
    square root of what there is of it, as crops are drawn, and of small ones all."""
    groups: dict[tuple[str, int], list[tuple[int, dict[str, str]]]] = defaultdict(list)
    random.Random(0).shuffle(rows)
    for row in rows:
        size = (imagery / row["file"]).stat().st_size
        groups[row["source"], math.floor(math.log2(float(row["gsd_m"])))].append((size, row))
    turns = []
    for group in groups.values():
        whole, taken = sum(size for size, _ in group), 0
        for size, row in group:
            turns.append((taken / whole**0.5, size, row))
            taken += size
    chosen = []
    for _, size, row in sorted(turns, key=lambda turn: turn[0]):
        if size <= limit:
            chosen.append(row)
            limit -= size
    return chosen


def spread(limit: int) -> None:
    """Moves the files below .gpu/, the largest first, into the first of .gpu/part-1, .gpu/part-2, ... that has room."""
    files = [path for path in TARGET.rglob("*") if path.is_file() and path.name != ".gitignore"]
    taken: list[int] = []
    for path in sorted(files, key=lambda path: path.stat().st_size, reverse=True):
        size = path.stat().st_size
        part = next((index for index, used in enumerate(taken) if used + size <= limit), len(taken))
        if part == len(taken):
            taken.append(0)
        taken[part] += size
        target = TARGET / f"part-{part + 1}" / path.relative_to(TARGET)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    shutil.rmtree(TARGET / "imagery", ignore_errors=True)


def main() -> None:
    """Fills .gpu/ anew and says how large it is."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--imagery", type=Path, help="folder with a manifest.csv; without it none is packed")
    options.add_argument("--mib", type=float, default=36, help="MiB of imagery at most (default 36)")
    options.add_argument("--part-mib", type=float, help="spread all files over folders of at most so many MiB")
    arguments = options.parse_args()
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir()
    (TARGET / ".gitignore").write_text("*\n")
    shutil.copyfile(find_source(), TARGET / "bmng.jpg")
    if arguments.imagery is not None:
        with (arguments.imagery / "manifest.csv").open(newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or [])
        held_out = holdout_names()
        rows = [row for row in rows if row["file"] not in held_out]
        chosen = share_of(rows, arguments.imagery, round(arguments.mib * 2**20))
        for row in chosen:
            target = TARGET / "imagery" / row["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(arguments.imagery / row["file"], target)
        with (TARGET / "imagery" / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(chosen)
        print(f"{len(chosen)} of {len(rows)} images")
    if arguments.part_mib is not None:
        spread(round(arguments.part_mib * 2**20))
    size = sum(path.stat().st_size for path in TARGET.rglob("*") if path.is_file())
    print(f"{TARGET}/ holds {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
