"""The one error that a cache raises, and only while it is being opened: a cache that fails later reports
misses."""


class CacheError(Exception):
    """The cache cannot be opened; the text is one sentence that says what to change."""
