"""Amounts as the command line writes them."""

from __future__ import annotations


def byte_text(count: int) -> str:
    """12.3 MB, 4.56 GB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def time_text(seconds: float) -> str:
    """90 s, 45 min, 12.5 h."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
