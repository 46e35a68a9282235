"""Carries out a Dockerfile without a container engine: each stage is a copy-on-write view of a root file system, each RUN
is run in it by chroot, as root or as USER says, with exactly the environment that ENV and ARG make.

The root is this machine's own, which must be a Debian as the images are, or a folder made by debootstrap that IMAGE_ROOT
names. Unless IMAGE_FULL is set, those packages of the tests' own environment that docker/requirements.txt names, and torch,
are shown to the one that is built, so that pip finds what it is told to install already there and only this project's wheel
is really built and installed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from string import Template

from dockerfile_parse import DockerfileParser

# In the views: the packages of the tests' own environment, and links to those of them that the image has.
ALL, SHARED = "/opt/all", "/opt/shared"
PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEEDED = ("unshare", "chroot", "setpriv", "mount")
PATIENCE_S = 3600 if os.environ.get("IMAGE_FULL") else 540
# For commands in a view: what pip on this machine is told about its proxies, indexes and certificates.
PASSED = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
)


@dataclass
class Stage:
    """One FROM with what its instructions have made: its files lie in `folder`/upper, over `lower`."""

    folder: Path
    lower: str
    env: dict[str, str] = field(default_factory=lambda: {"PATH": PATHS})
    args: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("upper", "work", "view"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def upper(self) -> Path:
        """What differs from the root below."""
        return self.folder / "upper"

    def run(self, command: Sequence[str], *, sealed: bool = False, binds: Mapping[Path, str] | None = None) -> str:
        """The output of a command in this stage; `sealed` as compose runs it: read-only but for /tmp and the volumes, without
        capabilities, and here without any network too.

        Raises:
            AssertionError: if it fails, with all that it wrote.
        """
        view = shlex.quote(str(self.folder / "view"))
        options = f"lowerdir={self.lower},upperdir={self.upper},workdir={self.folder / 'work'}"
        script = [f"mount -t overlay overlay -o {shlex.quote(options)} {view}"]
        script += [f"mount -t proc proc {view}/proc", f"mount --rbind /dev {view}/dev"]
        for source, target in shown_binds().items() | (binds or {}).items():
            make = "mkdir -p" if source.is_dir() else "touch"
            script += [f"{make} {view}{target}", f"mount --bind {shlex.quote(str(source))} {view}{target}"]
        drop = ["setpriv", f"--reuid={self.user.split(':')[0]}", f"--regid={self.user.split(':')[1]}", "--clear-groups"]
        if sealed:
            script += [f"mount -o remount,ro,bind {view}", f"mount -t tmpfs tmpfs {view}/tmp"]
            script += [f"{shlex.quote(sys.executable)} -c {shlex.quote(LOOPBACK_UP)}"]
            drop += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        variables = [f"{name}={value}" for name, value in ({} if sealed else passed | self.args | {"HOME": "/root"}).items()]
        variables += [f"{name}={value}" for name, value in self.env.items()]
        inner = ["chroot", str(self.folder / "view"), *drop, "env", "-i", "-C", self.workdir, *variables, *command]
        script.append(f"exec {shlex.join(inner)}")
        isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *(["--net"] if sealed else [])]
        done = subprocess.run([*isolate, "sh", "-ec", "\n".join(script)], capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def fill(self, text: str) -> str:
        """`text` with $NAME and ${NAME} replaced by what ARG and ENV say."""
        return Template(text).safe_substitute(self.args | self.env)


LOOPBACK_UP = """import fcntl, socket, struct
with socket.socket() as any: fcntl.ioctl(any, 0x8914, struct.pack("16sH14x", b"lo", 0x41))"""


def shown_binds() -> dict[Path, str]:
    """What the views show of this machine beside the root: where, by what."""
    binds: dict[Path, str] = {}
    if not os.environ.get("IMAGE_FULL"):
        binds[Path(sysconfig.get_path("purelib"))] = ALL
    if os.environ.get("IMAGE_ROOT"):
        node = Path(shutil.which("node") or "/usr/bin/node").resolve()
        binds |= {node: "/usr/local/bin/node", Path("/usr/lib/node_modules"): "/usr/lib/node_modules"}
        for path in ("/opt/wheels", "/opt/pypi", "/opt/pypi-more", "/etc/xdg/pip", "/etc/ssl", "/etc/resolv.conf"):
            if Path(path).exists():
                binds[Path(path)] = path
    return binds


def shared_names() -> set[str]:
    """What the packages of the image have at the top of site-packages here."""
    lines = (Path(__file__).parents[2] / "docker" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    packages = ["torch", *(line.partition("==")[0] for line in lines if not line.startswith("#"))]
    return {file.parts[0] for name in packages for file in distribution(name).files or ()} - {"..", "__pycache__"}


def base_layer(folder: Path) -> Stage:
    """The root with the programs `python`, `pip` and `npm`, as the images of Python and Node.js have them."""
    root = os.environ.get("IMAGE_ROOT")
    base = Stage(folder / "base", root or "/")
    if not os.environ.get("IMAGE_FULL"):
        links = base.upper / SHARED[1:]
        links.mkdir(parents=True)
        for name in shared_names():
            (links / name).symlink_to(f"{ALL}/{name}")
    if root:
        base.run(["sh", "-c", "python3 -m venv /opt/base && ln -s /opt/base/bin/pip /usr/local/bin/pip"])
        base.run(["ln", "-s", "/usr/bin/python3", "/usr/local/bin/python"])
        base.run(["ln", "-s", "/usr/lib/node_modules/npm/bin/npm-cli.js", "/usr/local/bin/npm"])
    else:
        # An interpreter in somebody's home is to be there for all users of the view.
        prefix = Path(sys.base_prefix)
        base.run(["chmod", "a+x", *map(str, prefix.parents)])
        base.env["PATH"] = f"{prefix}/bin:{base.env['PATH']}"
    return base


class Build:
    """Carries out `dockerfile` in `context`; `stages` by name, the last also as `image`."""

    def __init__(self, dockerfile: Path, context: Path, folder: Path, **arguments: str) -> None:
        self.context, self.folder, self.arguments = context, folder, arguments
        self._base = base_layer(folder)
        self._global: dict[str, str] = {}
        self._copied: set[str] = set()
        ignored = Path(f"{dockerfile}.dockerignore").read_text(encoding="utf-8").splitlines()
        assert ignored[0] == "*", "the context is what its .dockerignore names"
        self._sent = {line[1:] for line in ignored if line.startswith("!")}
        self.stages: dict[str, Stage] = {}
        self.ran: list[str] = []
        for step in DockerfileParser(str(dockerfile)).structure:
            if step["instruction"] != "COMMENT":
                getattr(self, f"_{step['instruction'].lower()}")(step["value"])
                self.ran.append(step["instruction"])
        assert self._copied == self._sent, f"sent to the builder and not used: {self._sent - self._copied}"

    def _from(self, value: str) -> None:
        image, _, name = Template(value).substitute(self._global).partition(" AS ")
        assert re.fullmatch(r"(python|node):\d+\.\d+\.\d+-(slim-bookworm|bookworm-slim)", image), image
        self.image = Stage(self.folder / (name or "final"), self._base.lower, dict(self._base.env))
        subprocess.run(["cp", "-a", f"{self._base.upper}/.", self.image.upper], check=True)
        self.stages[name or "final"] = self.image

    def _arg(self, value: str) -> None:
        name, _, default = value.partition("=")
        given = self.arguments.get(name, default.strip('"'))
        (self.image.args if self.stages else self._global)[name] = given

    def _env(self, value: str) -> None:
        for pair in shlex.split(self.image.fill(value)):
            name, _, text = pair.partition("=")
            self.image.env[name] = text

    def _run(self, value: str) -> None:
        command = re.sub(r"^(--\w+=\S+\s+)+", "", value)
        self.image.run(json.loads(command) if command.startswith("[") else ["/bin/sh", "-c", command])
        if not os.environ.get("IMAGE_FULL"):
            for packages in self.image.upper.glob("opt/venv/lib/python*/site-packages"):
                (packages / "shared.pth").write_text(f"{SHARED}\n")

    def _copy(self, value: str) -> None:
        *sources, target = shlex.split(self.image.fill(value))
        origin = self.context
        if sources[0].startswith("--from="):
            origin = self.stages[sources.pop(0).removeprefix("--from=")].upper
        else:
            assert self._sent >= set(sources), f"{sources} are not sent to the builder"
            self._copied |= set(sources)
        place = self.image.upper / os.path.join(self.image.workdir, target).lstrip("/")
        for source in sources:
            found = origin / source.lstrip("/")
            into = place / found.name if target.endswith("/") else place
            into.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                shutil.copytree(found, into, symlinks=True, ignore=None if origin != self.context else IGNORED)
            else:
                shutil.copy2(found, into)

    def _workdir(self, value: str) -> None:
        self.image.workdir = "/"
        self.image.run(["mkdir", "-p", self.image.fill(value)])
        self.image.workdir = self.image.fill(value)

    def _user(self, value: str) -> None:
        assert re.fullmatch(r"\d+:\d+", value), "a number, so that Kubernetes can tell that it is not root"
        self.image.user = value

    def _volume(self, value: str) -> None:
        self.image.volumes.append(value)

    def _expose(self, value: str) -> None:
        assert value == self.image.env["METAEARTH_PORT"]

    def _healthcheck(self, value: str) -> None:
        self.image.health = json.loads(value[value.index("[") :])

    def _entrypoint(self, value: str) -> None:
        self.image.entrypoint = json.loads(value)

    def _cmd(self, value: str) -> None:
        self.image.command = json.loads(value)


IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")
