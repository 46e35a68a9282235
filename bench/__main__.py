"""The benchmarks by name: `python -m bench NAME [options]`, NAME being floor, tiles, hits, hits_redis, nginx, peers, memory,
bbox, exports or gpu; `--help` after a name.

Without a name, those that need no GPU and install nothing run one after another with their defaults.
"""

from __future__ import annotations

import subprocess
import sys

NAMES = ("floor", "tiles", "hits", "hits_redis", "nginx", "peers", "memory", "bbox", "exports", "gpu")


def main() -> int:
    """Runs the benchmark named first on the command line, or all; each in a process of its own."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in NAMES:
        return subprocess.call([sys.executable, "-m", f"bench.{arguments[0]}", *arguments[1:]])
    if arguments:
        print(f"{__doc__.strip()}\n\nThere is no benchmark {arguments[0]!r}.", file=sys.stderr)
        return 2
    return max(subprocess.call([sys.executable, "-m", f"bench.{name}"]) for name in NAMES if name not in ("gpu", "peers"))


if __name__ == "__main__":
    sys.exit(main())
