"""API keys: made at random, kept as SHA-256 only, and compared in constant time.

A key has 256 random bits, so that a plain hash of it tells nobody what it is (a password would want a slow one). It comes as
`X-API-Key: KEY`, `Authorization: Bearer KEY` or `?key=KEY`; links in the answer to the last carry it on.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from urllib.parse import unquote_plus

from starlette.types import Scope

from server.errors import ApiKeyError
from server.settings import KEY_DIGEST, Settings, SettingsError

KEY_PREFIX = "me_"
PARAMETER = b"key"
# No key is longer; what is longer is not hashed.
LONGEST = 256


def new_key() -> str:
    """A key that nobody can guess: 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """What is kept of a key: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


class ApiKeys:
    """The keys that are let in, by their digests; empty where none are needed."""

    def __init__(self, digests: Sequence[str]) -> None:
        self._digests = [digest.encode() for digest in digests]

    @classmethod
    def from_settings(cls, settings: Settings) -> ApiKeys:
        """Those of METAEARTH_API_KEYS and of the file; raises `SettingsError` if that cannot be read or holds none."""
        digests = list(settings.api_keys)
        path = settings.api_keys_file
        if path is not None:
            name = "METAEARTH_API_KEYS_FILE"
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"{name}={path}: cannot be read ({error}).") from error
            entries = [(number, line.split()[0]) for number, line in enumerate(lines, 1) if line.split("#")[0].strip()]
            wrong = [number for number, digest in entries if not KEY_DIGEST.fullmatch(digest)]
            if wrong or not entries:
                where = f"line {wrong[0]} has none" if wrong else "it has none"
                raise SettingsError(f"{name}={path}: each line begins with a digest as `metaearth key` prints it; {where}.")
            digests += [digest for _, digest in entries]
        return cls(digests)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, key: str | None) -> str:
        """The digest of `key`; raises `ApiKeyError` if it is none of ours. Takes as long whichever it is."""
        if key is None:
            raise ApiKeyError("An API key is needed; send it as X-API-Key, as Authorization: Bearer, or as ?key=.")
        digest = digest_of(key[:LONGEST]).encode()
        if len(key) > LONGEST or sum([hmac.compare_digest(digest, known) for known in self._digests]) == 0:
            raise ApiKeyError("The API key is not known; check that all of it was copied, or ask the operator for one.")
        return digest.decode()


def key_in_headers(scope: Scope) -> str | None:
    """The key in a request's headers, if there is one."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return str(value.decode("latin-1")).strip()
        if name == b"authorization":
            scheme, _, key = value.decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer":
                return str(key).strip()
    return None


def split_query(query: bytes) -> tuple[str | None, bytes]:
    """The value of `key` in a query string, and the string without it, for no route knows that parameter."""
    if PARAMETER not in query.lower():
        return None, query
    key, rest = None, []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        # In any case, for OGC clients write parameters in capitals.
        if name.lower() == PARAMETER:
            key = unquote_plus(value.decode("latin-1"))
        else:
            rest.append(pair)
    return key, b"&".join(rest)
