"""A newer Docker than this machine's: Debian's newer packages in a root of their own, made once and kept.

What is in that root runs in a mount namespace beside the machine it belongs to: the engine's own files come from it,
and what it shares with its machine (`/run`, `/tmp`, `/var/lib/docker`) is the machine's. It has to be its real root
(`pivot_root`): in a chroot, `docker exec` lands outside of the container.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.engine_support import skip_or_fail

ROOT = Path(__file__).parents[2]
CACHE = Path(__file__).parents[1] / "artifacts" / ".docker-28"  # hidden: neither linters nor pytest look into it
_SUITE = "sid"  # Docker 28.5 at the time of writing; `trixie` has 26.1
_PACKAGES = "docker.io,docker-cli,iptables,iproute2,ca-certificates,procps"
_SECONDS = 600


def root() -> Path:
    """The directory with the newer Docker. Skips (in CI: fails) where it can't be had."""
    if CACHE.is_dir():
        return CACHE
    if shutil.which("mmdebstrap") is None:
        skip_or_fail("mmdebstrap is not installed, which makes a root with a newer Docker")
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=CACHE.parent, prefix=".docker-28-"))
    try:
        # Never half a root under the name; another run may be quicker.
        done = subprocess.run(
            [
                "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", f"--include={_PACKAGES}",
                "--aptopt=Acquire::Check-Valid-Until \"false\"", _SUITE, str(work / "root"),
            ],
            capture_output=True, text=True, check=False, timeout=_SECONDS,
        )  # fmt: skip
        if done.returncode:
            skip_or_fail(f"Debian's newer Docker cannot be had: {done.stderr[-1500:]}")
        if not CACHE.is_dir():
            os.rename(work / "root", CACHE)  # noqa: PTH104  (fails where another run was quicker)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return CACHE


def script(directory: Path) -> str:
    """Shell commands that make the root this process's own, in a mount namespace that it has for itself.

    `directory` keeps what is written there. It sees the machine's processes and devices, and this checkout.
    """
    top, shared = directory / "root", ("/sys", "/dev", "/run", "/tmp", "/var/lib/docker", str(ROOT))
    binds = [f"mkdir -p {top}{one} && mount --rbind {one} {top}{one}" for one in shared]
    layers = f"lowerdir={root()},upperdir={directory}/upper,workdir={directory}/work"
    return " && ".join([
        f"mkdir -p {top} {directory}/upper {directory}/work",
        f"mount -t overlay overlay -o {layers} {top}",
        *binds,
        f"mount -t proc proc {top}/proc",
        f"cp -L /etc/resolv.conf {top}/etc/resolv.conf",
        f"cd {top} && mkdir -p old && pivot_root . old && umount --lazy /old && cd /",
    ])  # fmt: skip
