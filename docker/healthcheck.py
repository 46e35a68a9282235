"""Exit 0 when the server in this container answers /health with 200, else 1. Only the standard library."""

from __future__ import annotations

import os
import sys
import urllib.request


def healthy(port: int, timeout_s: float = 4.0) -> bool:
    """Whether GET /health on this machine answers 200 in time."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if healthy(int(os.environ.get("METAEARTH_PORT", "8000"))) else 1)
