"""Turns of processes that render: one at a time, and none is kept by the dead."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path

from server.render_turn import RenderTurn

ROOT = Path(__file__).parents[1]
# Takes a turn, says so, and keeps it until its input ends.
CODE = """
import sys
from pathlib import Path
from server.render_turn import RenderTurn
with RenderTurn(Path(sys.argv[1]), int(sys.argv[2]))():
    print("in", flush=True)
    sys.stdin.read()
"""


def process(folder: Path, slots: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, str(folder), str(slots)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_one_at_a_time_and_the_dead_keep_nothing(tmp_path: Path) -> None:
    first, second = process(tmp_path, 1), process(tmp_path, 1)
    assert first.stdout is not None and second.stdout is not None
    ready, _, _ = select.select([first.stdout, second.stdout], [], [], 60)
    assert len(ready) == 1
    holder, waiter = (first, second) if ready[0] is first.stdout else (second, first)
    assert waiter.stdout is not None
    assert not select.select([waiter.stdout], [], [], 0.5)[0], "the other waits"
    holder.kill()
    assert select.select([waiter.stdout], [], [], 60)[0]
    waiter.communicate(timeout=60)
    holder.communicate(timeout=60)


def test_as_many_as_there_are_slots(tmp_path: Path) -> None:
    other = process(tmp_path, 2)
    assert other.stdout is not None and other.stdout.readline() == "in\n"
    with RenderTurn(tmp_path, 2)():
        pass
    other.communicate(timeout=60)
