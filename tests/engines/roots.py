"""Other engines than this machine's: Debian's newer packages in a root of their own, made once and kept.

What is in such a root runs in a mount namespace beside the machine it belongs to: the engine's own files come from
it, and what it shares with its machine (`/run`, `/tmp`, its data) is the machine's. It has to be its real root
(`pivot_root`): in a chroot, `docker exec` lands outside of the container.
"""

from __future__ import annotations

from pathlib import Path

from tests import debian_root

ROOT = Path(__file__).parents[2]
_PACKAGES = "docker.io,docker-cli,docker-compose,iptables,iproute2,ca-certificates,procps"
_SHARED = ("/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/lib/docker", str(ROOT))


def newest() -> Path:
    """Debian's newest Docker: 28.5 at the time of writing. Skips (in CI: fails) where it can't be had."""
    return debian_root.root("docker-newest", "sid", f"{_PACKAGES},docker-buildx,rootlesskit,slirp4netns,uidmap")


def stable() -> Path:
    """The Docker and the Podman of Debian 13: 26.1 and 5.4."""
    return debian_root.root("docker-trixie", "trixie", f"{_PACKAGES},podman,crun,netavark,nftables")


def script(directory: Path | str, root: Path) -> str:
    """Shell commands that make the root this process's own, in a mount namespace that it has for itself.

    `directory` keeps what is written there. It sees the machine's processes and devices, and this checkout.
    """
    top = f"{directory}/root"
    binds = [f"mkdir -p {one} {top}{one} && mount --rbind {one} {top}{one}" for one in _SHARED]
    layers = f"lowerdir={root},upperdir={directory}/upper,workdir={directory}/work"
    return " && ".join([
        f"mkdir -p {top} {directory}/upper {directory}/work",
        f"mount -t overlay overlay -o {layers} {top}",
        *binds,
        f"mount -t proc proc {top}/proc",
        f"cp -L /etc/resolv.conf {top}/etc/resolv.conf",
        f"cd {top} && mkdir -p old && pivot_root . old",
        "mount --make-rprivate /old && umount --lazy /old && cd /",  # else what it shares is unmounted outside, too
    ])  # fmt: skip
