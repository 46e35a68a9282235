"""Sends hostile requests to a real server over raw sockets and judges what comes back."""

from __future__ import annotations

import json
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.process import Server
from tests.load.hostile import Attack, Hostile
from tests.load.tokens import INJECTED, LINE

# A whole request is answered, and a broken one hung up on, within this, for a busy machine may take long over a small box.
PATIENCE_S = 120.0
# How long to listen before the client of a broken request hangs up itself.
HALF_OPEN_S = 0.2
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass
class Verdict:
    """What a run has found: answers by status, and a sentence for each request that went wrong."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def fuzz(server: Server, count: int, seed: int = 0, first: int = 0, clients: int = 4) -> Verdict:
    """Sends the requests `first` to `first + count` of `seed`, `clients` at a time; checks the server's log at the end."""
    attack = Attack(json.loads(server.get("/openapi.json")[1]), seed)
    verdict = Verdict()

    def one(number: int) -> tuple[int, Hostile, str, bytes]:
        hostile = attack.request(number)
        fault, received = exchange(server.port, hostile)
        return number, hostile, fault, received

    with ThreadPoolExecutor(clients) as pool:
        for number, hostile, fault, received in pool.map(one, range(first, first + count)):
            statuses = STATUS.findall(received)
            verdict.answers.update([status.decode() for status in statuses] or ["closed"])
            head = received.partition(b"\r\n\r\n")[0]
            if bad := [status for status in statuses if status >= b"500"]:
                fault = f"answered {bad[0].decode()}: {received[-300:]!r}"
            elif f"\r\n{INJECTED}:".lower().encode() in head.lower():
                fault = f"splits the answer: {head!r}"
            if fault:
                verdict.faults.append(f"{number} ({hostile.name}) {hostile.data[:300]!r}: {fault}")
    printed = server.printed()
    if "Traceback" in printed:
        verdict.faults.append(f"The log holds a traceback: {printed[printed.index('Traceback') :][:3000]}")
    if any(line.startswith(LINE) for line in printed.splitlines()):
        verdict.faults.append("A request wrote a line of its own into the log.")
    if server.process.poll() is not None:
        verdict.faults.append(f"The server ended with {server.process.returncode}.")
    return verdict


def exchange(port: int, hostile: Hostile) -> tuple[str, bytes]:
    """What went wrong, if anything, and all that was received."""
    received = b""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        try:
            connection.sendall(hostile.data)
            if not hostile.complete:
                connection.settimeout(HALF_OPEN_S)
            while True:
                try:
                    piece = connection.recv(1 << 16)
                except TimeoutError:
                    if hostile.complete or time.monotonic() - begin > PATIENCE_S:
                        return f"no end of the answer within {PATIENCE_S:.0f} s", received
                    if connection.gettimeout() == PATIENCE_S:
                        return "is not let go after it hung up", received
                    connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(PATIENCE_S)
                    continue
                if not piece:
                    break
                received += piece
                if received.endswith(b"event: progress\n") or b"text/event-stream" in received[:1000]:
                    break
        except (ConnectionResetError, BrokenPipeError):
            pass  # hung up on before all was read: a server's right with what is malformed
    if hostile.complete and hostile.name in ("address", "query", "body") and not received:
        return "was hung up on without an answer", received
    return "", received
