"""Can the local engine be tested here? Used by fixtures."""

from __future__ import annotations

import base64
import functools
import importlib.util
import os
import sys
from pathlib import Path

from tests.engine_support import skip_or_fail
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.engines.local.machine import find_sandbox
from tmpnb_py.engines.local.sandbox import Sandbox

_SERVER = Path(__file__).parent / "images" / "server" / "server.py"


def need_jupyterlab() -> None:
    """Skip (in CI: fail) unless JupyterLab is installed beside tmpnb-py."""
    if importlib.util.find_spec("jupyterlab") is None:
        skip_or_fail("JupyterLab is not installed: pip install '.[local]'")


def need_sandbox() -> Sandbox:
    """Skip (in CI: fail) unless bubblewrap works; returns how."""
    need_jupyterlab()
    sandbox, reason = _sandbox()
    if sandbox is None:
        skip_or_fail(f"{reason}: apt-get install bubblewrap")
    assert sandbox is not None
    return sandbox


def need_root() -> None:
    """Skip unless root runs the tests (CI does): only root can become somebody else."""
    if os.geteuid() != 0:
        skip_or_fail("only root can become somebody else")


@functools.cache
def _sandbox() -> tuple[Sandbox | None, str]:
    return find_sandbox(workshop_directory() / "start-notebook.sh")


def server_command() -> str:
    """A command that starts the stand-in server, which is not on the sandbox's file system."""
    code = base64.b64encode(_SERVER.read_bytes()).decode()
    start = f"import base64; exec(base64.b64decode('{code}'))"
    return f'exec python3 -c "{start}" --base {{base_path}} --socket {{socket}}'


def ordinary_user(user: int, *needed: Path) -> list[str]:
    """A command prefix that becomes the user `user`; root only.

    They get mounts of their own: each directory that they could not pass, such as root's home, is replaced by one
    that shows nothing but what is needed. It ends in exec, so the process id stays.

    `needed` are directories that the user has to reach beside Python and this checkout.
    """
    need_root()
    paths = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1], *needed]
    script = ["set -e"]
    hidden = {top for path in paths for top in [_closed_ancestor(path)] if top is not None}
    for number, top in enumerate(sorted(hidden)):
        inside = sorted({path for path in paths if path.is_relative_to(top)}, key=lambda path: len(path.parts))
        stage = f"/run/lock/tmpnb-stage-{number}"  # in mounts that nobody else sees
        script += ["mount -t tmpfs -o mode=755 tmpfs /run/lock", f"mkdir {stage}"]
        for index, path in enumerate(inside):
            script += [f"mkdir {stage}/{index}", f"mount --rbind '{path}' {stage}/{index}"]
        script.append(f"mount -t tmpfs -o mode=755 tmpfs '{top}'")
        for index, path in enumerate(inside):
            script += [f"mkdir -p '{path}'", f"mount --rbind {stage}/{index} '{path}'"]
    script.append(
        f'exec setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all --bounding-set=-all -- "$@"'
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(script), "sh"]


def _closed_ancestor(path: Path) -> Path | None:
    """The topmost directory above a path that other users cannot pass."""
    for one in reversed([path, *path.parents]):
        if not one.stat().st_mode & 0o001:
            return one
    return None
