"""Finds what the local engine needs on this machine: a Python environment with JupyterLab, system files, a sandbox.

Used by the local engine and, before it, by the composition root, which listens publicly only with a sandbox.
Synchronous; `find_sandbox` runs bubblewrap and takes up to a tenth of a second.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tmpnb_py.core.errors import ImageMissingError
from tmpnb_py.engines.local import sandbox as local_sandbox
from tmpnb_py.engines.local import seccomp
from tmpnb_py.engines.local.sandbox import Layout, Sandbox

_PROBE_SECONDS = 10.0
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Below a prefix: sysconfig's schemes, the directories that Jupyter and fontconfig read, and conda's own.
_INSTALLED = (
    "bin", "include", "lib", "lib32", "lib64", "libexec", "pyvenv.cfg", "share", "ssl/cert.pem", "ssl/openssl.cnf",
    "etc/fonts", "etc/ipython", "etc/jupyter",
)  # fmt: skip
_HIDDEN = ("/proc/key-users", "/proc/keys", "/proc/sched_debug", "/proc/timer_list")
_PACKAGES = ("jupyterlab", "jupyter-server", "ipykernel")
_SHELL_VERSION = (5, 14)  # the first kernel that counts processes per user namespace

_PASSWD = f"jovyan:x:1000:1000::{local_sandbox.HOME}:/bin/bash\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
_PROFILE = """\
# Otherwise a terminal's login shell would reset PATH.
PATH='%s'
export PATH
[ -z "$BASH_VERSION" ] || [ ! -r /etc/bash.bashrc ] || . /etc/bash.bashrc
"""
_JUPYTER = """\
# Values that differ between notebooks come from the environment: every user of a machine can read a command line.
import os

c = get_config()
c.ServerApp.base_url = os.environ["TMPNB_BASE_PATH"]
c.ServerApp.sock = os.environ["TMPNB_SOCKET"]
c.IdentityProvider.token = os.environ.get("JUPYTER_TOKEN", "")
c.ServerApp.allow_root = True  # needed without a sandbox; in a sandbox nobody is root
"""
# The image removes jupytext's extension, so only here its file types and its factory exist.
_JUPYTEXT_VIEWERS = """\
{
  "@jupyterlab/docmanager-extension:plugin": {
    "defaultViewers": { "r-markdown": "Jupytext Notebook", "quarto": "Jupytext Notebook" }
  }
}
"""
# Installed beside tmpnb-py, or with Node.js, JupyterLab would start more slowly than in the image.
_LAB = """\
import os
import sys

sys.modules["httpx._main"] = None  # its command line would load rich and pygments: 0.1 s and 4 MB
path, os.environ["PATH"] = os.environ["PATH"], "/nonexistent"
from jupyterlab import labapp  # would ask Node.js, if found, for a registry that nobody uses here: 0.3 s

os.environ["PATH"] = path
sys.exit(labapp.main())
"""


def python_versions(prefix: str = sys.prefix) -> dict[str, str]:
    """Versions of the installed packages that notebooks need. Raises `ImageMissingError` with a remedy."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise _missing(package) from None
    if not os.access(Path(prefix, "bin", "jupyter-lab"), os.X_OK):
        raise _missing("jupyter-lab")
    return versions


def _missing(what: str) -> ImageMissingError:
    return ImageMissingError(
        f"the local engine needs JupyterLab in its own Python environment, and {what} is not in {sys.prefix}",
        remedy="install it beside tmpnb-py, in its directory: pip install '.[local]'",
    )


def static_directories(prefix: str = sys.prefix) -> tuple[tuple[str, str], ...]:
    """JupyterLab's directories of files that are the same for all visitors: (path below the base path, directory)."""
    share = Path(prefix, "share", "jupyter")
    found = {
        "static/lab": share / "lab" / "static",
        "lab/extensions": share / "labextensions",
        "lab/api/themes": share / "lab" / "themes",
    }
    return tuple((name, str(path)) for name, path in found.items())


def image_id(versions: dict[str, str], *directories: Path, sandbox: Sandbox | None) -> str:
    """An id that changes with anything that a notebook is started from."""
    files = [
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for directory in directories
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    text = json.dumps([sys.prefix, versions, files, repr(sandbox)], sort_keys=True)
    return f"local:{hashlib.sha256(text.encode() + _filter()).hexdigest()}"


def layout() -> Layout:
    """The system's directories, and the parts of this Python outside of them."""
    places = [Path(path) for path in _SYSTEM]
    links = tuple((str(path.readlink()), str(path)) for path in places if path.is_symlink())
    system = tuple(str(path) for path in places if path.is_dir() and not path.is_symlink())
    hidden = tuple(path for path in _HIDDEN if Path(path).exists())
    return Layout(links, system, tuple(_outside(system, _python_places())), hidden)


def _python_places() -> Iterator[str]:
    """The files and directories of a Python installation or environment.

    Not its whole directory: people create environments beside other files, such as in their home or in a directory
    with a configuration and its secrets.
    """
    for prefix in (sys.prefix, sys.base_prefix):
        for place in (prefix, os.path.realpath(prefix)):
            yield from (str(path) for path in (Path(place, name) for name in _INSTALLED) if path.exists())
    program = Path(sys.executable)
    for _ in range(8):  # follow a chain of links; with a loop we would not have started
        if not program.is_symlink():
            break
        program = Path(os.path.normpath(program.parent / program.readlink()))
        yield str(program)


def _outside(covered: Iterable[str], paths: Iterable[str]) -> list[str]:
    """The `paths` that are below none of `covered`."""
    found: list[str] = []
    for path in sorted(set(paths), key=len):
        if not any(Path(path).is_relative_to(one) for one in (*covered, *found)):
            found.append(path)
    return found


def support_files(prefix: str, start_script: Path) -> dict[str, tuple[bytes, int]]:
    """The small files that are mounted into notebooks, by name: content and mode."""
    files = {name: (text.encode(), mode) for name, (text, mode) in _scripts(prefix, start_script).items()}
    return {**files, local_sandbox.SECCOMP: (_filter(), 0o644)}


def _filter() -> bytes:
    """The system call filter. Without one for this processor it is empty, which bubblewrap refuses."""
    machine = seccomp.machine()
    return seccomp.program(machine) if machine else b""


def _scripts(prefix: str, start_script: Path) -> dict[str, tuple[str, int]]:
    support = local_sandbox.SUPPORT
    path = f"{support}/bin:{prefix}/bin:/usr/local/bin:/usr/bin:/bin"
    return {
        "etc/passwd": (_PASSWD, 0o644),
        "etc/group": ("jovyan:x:1000:\nnogroup:x:65534:\n", 0o644),
        "etc/hosts": ("127.0.0.1 localhost notebook\n::1 localhost\n", 0o644),
        "etc/profile": (_PROFILE % path, 0o644),
        "jupyter/jupyter_server_config.py": (_JUPYTER, 0o644),
        "jupyter/labconfig/default_setting_overrides.json": (_JUPYTEXT_VIEWERS, 0o644),
        "jupyter/lab.py": (_LAB, 0o644),
        "bin/jupyter-lab": (
            f"""#!/bin/sh\nexec '{prefix}/bin/python3' "${{0%/*}}/../jupyter/lab.py" "$@"\n""",
            0o755,
        ),
        "bin/start-notebook.sh": (start_script.read_text(), 0o755),  # wheels lose the execute bit
    }


def runnable_workshops(workshops: Path) -> str:
    """The manifest of the workshops that this Python environment can run, filtered as in the image."""
    script = workshops / "server" / "tmpnb_workshops.py"
    done = _run([sys.executable, "-I", str(script), str(workshops / "workshops"), "--cold"], output=subprocess.PIPE)
    return done.stdout if done is not None and not done.returncode else ""


def install_support(directory: Path, files: dict[str, tuple[bytes, int]]) -> None:
    """Write the files that differ. Running notebooks have the directory mounted, so it is never replaced."""
    for name, (content, mode) in files.items():
        path = directory / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for parent in path.parents[: len(Path(name).parents)]:
            parent.chmod(0o755)
        if not path.is_file() or path.read_bytes() != content:
            path.with_suffix(".new").write_bytes(content)
            path.with_suffix(".new").rename(path)
        path.chmod(mode)


def counts_processes() -> bool:
    """Whether a process limit set in a user namespace counts only its own processes (Linux 5.14)."""
    match = re.match(r"(\d+)\.(\d+)", platform.release())
    return match is not None and (int(match[1]), int(match[2])) >= _SHELL_VERSION


def find_sandbox(start_script: Path) -> tuple[Sandbox | None, str]:
    """Find the strongest sandbox that works here, or the reason why there is none."""
    program = shutil.which("bwrap")
    if program is None:
        return None, "bubblewrap (the program bwrap) is not installed"
    if seccomp.machine() is None:
        return None, f"there is no system call filter for {platform.machine()} processors"
    program = os.path.realpath(program)
    reason = ""
    for locked in (True, False):
        sandbox = Sandbox(program, _version(program), as_root=os.geteuid() == 0, locked=locked)
        reason = _try(sandbox, start_script)
        if not reason:
            return sandbox, ""
    return None, f"bubblewrap does not work here ({reason})"


def _version(program: str) -> str:
    done = _run([program, "--version"], output=subprocess.PIPE)
    return done.stdout.strip().removeprefix("bubblewrap ") if done is not None else "unknown"


def _try(sandbox: Sandbox, start_script: Path) -> str:
    """Run a trivial command in the sandbox as a notebook would run. Returns "" or bubblewrap's last line."""
    with tempfile.TemporaryDirectory(prefix="tmpnb-probe-") as directory:
        install_support(Path(directory), support_files(sys.prefix, start_script))
        sizes: dict[str, Any] = dict.fromkeys(("home_size", "tmp_size", "shm_size"), 1 << 20)
        shown = [(directory, local_sandbox.SUPPORT)]
        argv = local_sandbox.sandboxed(sandbox, layout(), shown, "true", **sizes, network=False)
        at = argv.index("--json-status-fd")
        done = _run(argv[:at] + argv[at + 2 :], error=subprocess.PIPE)
    if done is None:
        return "it did not end in time"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]


def _run(
    argv: list[str], *, output: int = subprocess.DEVNULL, error: int = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(  # noqa: S603 - our own command line
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=error,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
            check=False,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
