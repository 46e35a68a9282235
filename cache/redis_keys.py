"""The key schema of the shared cache (docs/caching.md), and the scripts that must be one step for the server.

    metaearth:1:t:NAME      a tile: a frame of its bytes, or of the digest of a value stored once
    metaearth:1:c:{DIGEST}  a value stored once for all tiles that have it: solid colours
    metaearth:1:b:{NAME}    a canonical block
    metaearth:1:l:b:{NAME}  the claim of whoever makes the value b:{NAME} now: the claim's token
    metaearth:1:f:b:{NAME}  the last token given for it, so that an owner outrun by another is refused
    metaearth:1:done        the channel on which claims that end are told: b:{NAME}

The 1 is the version: another layout gets another number, and both may live in one server. The part in braces is what a
cluster hashes: all keys that a script touches have the same.
"""

from __future__ import annotations

PREFIX = "metaearth:1:"
CHANNEL = PREFIX + "done"
TILE, BLOCK, CONTENT, LOCK, FENCE = "t", "b", "c", "l", "f"  # the kinds of keys
# Longer than any process that lost its claim may go on believing that it has it.
FENCE_SECONDS = 600

# Looks and claims at once: whoever finds a value missing also knows whether it is for them to make it.
# KEYS lock, fence, value...; ARGV lease in ms, seconds to keep the fence. Answers {token}: claimed; {0}: all values are
# there; {-ms}: another has it for so long; then the values.
CLAIM = """
local answer, whole = {0}, true
for i = 3, #KEYS do
  local value = redis.call('GET', KEYS[i])
  answer[i - 1] = value
  if not value then whole = false end
end
if whole then return answer end
local now = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local token = string.format('%.0f', math.max(last + 1, now[1] * 1000000 + now[2]))
if redis.call('SET', KEYS[1], token, 'NX', 'PX', ARGV[1]) then
  redis.call('SET', KEYS[2], token, 'EX', ARGV[2])
  answer[1] = token
else
  answer[1] = -math.max(redis.call('PTTL', KEYS[1]), 1)
end
return answer
"""

# Stores unless a later claim was given, ends the claim and tells the waiters.
# KEYS lock, fence, value...; ARGV token, ttl in ms or 0, channel, message, value... Answers 1, or 0 if refused.
STORE = """
local last = redis.call('GET', KEYS[2])
if last and tonumber(last) > tonumber(ARGV[1]) then return 0 end
for i = 3, #KEYS do
  if ARGV[2] == '0' then redis.call('SET', KEYS[i], ARGV[i + 2])
  else redis.call('SET', KEYS[i], ARGV[i + 2], 'PX', ARGV[2]) end
end
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
"""

# KEYS lock; ARGV token, channel, message.
RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
"""

# KEYS lock; ARGV token, lease in ms.
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


def full_key(kind: str, name: str) -> str:
    """The key of a value; a name without a part in braces is put into braces as a whole."""
    return f"{PREFIX}{kind}:{name}" if "{" in name else f"{PREFIX}{kind}:{{{name}}}"


def lock_keys(key: str) -> tuple[str, str]:
    """The keys of the claim and of the fence of the value at `key`."""
    rest = key.removeprefix(PREFIX)
    return f"{PREFIX}{LOCK}:{rest}", f"{PREFIX}{FENCE}:{rest}"


def short_name(key: str) -> tuple[str, str]:
    """The kind and the name that `full_key` made `key` of."""
    kind, _, name = key.removeprefix(PREFIX).partition(":")
    return kind, name[1:-1] if name[:1] == "{" and name[-1:] == "}" else name
