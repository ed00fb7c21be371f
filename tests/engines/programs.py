"""Programs named `docker` and `dockerd` that are another engine's. A folder of them comes first in the PATH.

So whatever starts an engine or calls one works with that engine: `.ci/own-machine`, `tests/e2e/own_engine.py`, the
tests themselves. What they change of their root is in a tmpfs of their own mount namespace, and goes with them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tests.engines import roots

_WORK = "/run/tmpnb-engine-root"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_PLUGINS = ("docker-compose", "docker-buildx")
_STORAGE = "--storage-driver=overlay2"  # which our tests ask for, and which containerd's image store is none of
_ROOTLESS = "/usr/share/docker.io/contrib/dockerd-rootless.sh"
_USER, _HOME, _RUNTIME = 4242, "/home/someone", "/run/user/4242"
# Of all that `.ci/own-machine` tells a Docker engine only where its data belongs means something to others.
_DATA = 'data=; last=; for one; do [ "$last" != --data-root ] || data=$one; last=$one; done'


def this_docker(folder: Path, options: Sequence[str]) -> None:
    """This machine's Docker with more options. (What configures it is a file of the name `daemon.json`.)"""
    reachable = 'chmod o+x "$(dirname "$data")"'  # users of containers are others where they are remapped
    _write(folder / "dockerd", _DATA, reachable, f'exec /usr/sbin/dockerd "$@" {shlex.join(options)}')


def another_docker(folder: Path, root: Path, *, options: Sequence[str] = (), environment: str = "") -> None:
    """The Docker of this root: its engine with these options and variables, its client, compose and buildx."""
    containerd = any("containerd-snapshotter" in option for option in options)
    dropped = f'[ "$one" = {_STORAGE} ] && continue; ' if containerd else ""
    _write(
        folder / "dockerd",
        f'for one; do shift; {dropped}set -- "$@" "$one"; done',
        _entering(root, f'{environment} exec /usr/sbin/dockerd "$@" {shlex.join(options)}'),
    )
    _write(folder / "docker", f"export DOCKER_CONFIG={folder}/config", _foreign(root, "usr/bin/docker"))
    plugins = folder / "config" / "cli-plugins"
    plugins.mkdir(parents=True)
    for name in _PLUGINS:
        if (root / "usr/libexec/docker/cli-plugins" / name).exists():
            _write(plugins / name, _foreign(root, f"usr/libexec/docker/cli-plugins/{name}"))
    # Who has a Docker of today has no docker-compose 1.29 beside it.
    _write(folder / "docker-compose", f'exec {folder}/docker compose "$@"')


def rootless_docker(folder: Path, root: Path) -> None:
    """The Docker of this root, as its user someone starts it: the script that Docker has for that."""
    another_docker(folder, root)
    commands = [
        _DATA,
        f"echo someone:x:{_USER}:{_USER}::{_HOME}:/bin/sh >>/etc/passwd",
        f"echo someone:x:{_USER}: >>/etc/group",
        "echo someone:300000:65536 | tee /etc/subuid >/etc/subgid",
        f'mkdir -p {_HOME} {_RUNTIME} "$data"',
        f'chown {_USER}:{_USER} {_HOME} {_RUNTIME} "$data"',
        'chmod 755 "$(dirname "$data")"',
        f"ln -sf {_RUNTIME}/docker.sock /run/docker.sock",
        "mkdir /own && mount -t tmpfs tmpfs /own && mknod -m 666 /own/tun c 10 200",
        "mount --bind /own/tun /dev/net/tun",
        "mount --make-rshared /",
        f"export HOME={_HOME} XDG_RUNTIME_DIR={_RUNTIME} PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "export DOCKERD_ROOTLESS_ROOTLESSKIT_NET=slirp4netns",
        f'exec setpriv --reuid {_USER} --regid {_USER} --clear-groups {_ROOTLESS} --data-root "$data"',
    ]
    _write(folder / "dockerd", _entering(root, f"set -e; {'; '.join(commands)}"))


def podman(folder: Path, root: Path | None = None) -> None:
    """This machine's Podman, or that of a root, where Docker's socket is, as Debian's podman-docker has it."""
    where = '--root "$data" --runroot /run/podman --cgroup-manager=cgroupfs'
    command = f"{_DATA}; exec podman {where} system service --time=0 unix:///run/docker.sock"
    _write(folder / "dockerd", command if root is None else _entering(root, command))


def _entering(root: Path, command: str) -> str:
    """Run a shell command in this root, with the arguments of the shell that runs this."""
    work = f"mkdir -p {_WORK} && mount -t tmpfs tmpfs {_WORK}"
    inner = f"{work} && {roots.script(_WORK, root)} && {command}"
    return f'exec unshare --mount --propagation=unchanged sh -c {shlex.quote(inner)} sh "$@"'


def _foreign(root: Path, program: str) -> str:
    """Run a program of this root out here, with its own libraries."""
    loader, libraries = root / _LIBRARIES / "ld-linux-x86-64.so.2", root / _LIBRARIES
    return f'exec {loader} --library-path {libraries} {root / program} "$@"'


def _write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", "set -e", *lines, ""]))
    path.chmod(0o755)
