"""Command lines and environments that start a local notebook, as plain values. Pure.

From the outside in: a shell that waits until its record is on disk, sets limits and becomes bubblewrap (bwrap(1));
bubblewrap, which stays as the supervisor; the sandbox's first process; the notebook server. Without a sandbox a
shell is the supervisor. Neither depends on the orchestrator, which may stop and restart.

The sandbox contains: the system's programs and this Python environment, read-only; a synthetic /etc; memory for
home, /tmp, /dev/shm and the socket's directory, each of bounded size. The visitor can write nothing on the host's
disk, not even the socket: the orchestrator reaches that through the sandbox's root. A notebook's output goes
through a pipe to a process outside, which keeps the end of it.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from tmpnb_py.core import warm
from tmpnb_py.engines.docker.options import HOSTNAME, OOM_SCORE_ADJ, SOCKET_DIRECTORY
from tmpnb_py.engines.local.cgroup import GroupLimits

HOME = "/home/jovyan"
SUPPORT, CONFIG, WORKSHOPS = "/srv/tmpnb/support", "/srv/tmpnb/config", "/srv/tmpnb/workshops"
WEB_DIRECTORY = "/run/tmpnb-web"
SECCOMP = "seccomp"  # in the support directory: the system call filter (see `seccomp`)
SERVER = "/srv/tmpnb/server"  # the server's extensions; its configuration expects them beside its own directory

_USER = "1000"
_NICENESS = 5
_OPEN_FILES = 4096
_SOCKET_DIRECTORY_SIZE = 64 * 1024
# Files that programs and libraries need. None reveals anything about the machine's users.
_ETC = (
    "alternatives", "bash.bashrc", "ca-certificates", "crypto-policies", "fonts", "gnuplot", "inputrc",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "octave.conf",
    "papersize", "pki/ca-trust", "pki/tls/cert.pem", "pki/tls/certs", "pki/tls/openssl.cnf", "protocols", "R",
    "services", "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
_ETC_NETWORK = ("gai.conf", "host.conf", "resolv.conf")
_ETC_OURS = ("group", "hosts", "passwd", "profile")
_FILTERED = ("--seccomp", "4")  # bubblewrap closes it after reading
# Only what is needed to become the notebook's user, who then has none of them.
_SETUP_CAPABILITIES = ("CAP_CHOWN", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID")
# Two files of at most 1 MiB each: when one is full, the other is overwritten. A read is a line or more. Keep reading
# even when the disk is full, as a closed pipe would kill the writer.
_KEEP_LOG = """\
exec 4<&0
(
    cd /proc/self/fd/3 && exec 3>&- && while
        mv -f log log.old
        dd bs=4096 count=256 >log 2>/dev/null
        [ -s log ]
    do :; done
    : >log.end
    exec cat >/dev/null
) <&4 4<&- &
"""
_SUPERVISE = '/bin/sh -c "$1" 3>&-; printf \'{ "exit-code": %d }\\n\' "$?" >&3'


@dataclasses.dataclass(frozen=True, slots=True)
class Sandbox:
    """The way bubblewrap works on this machine.

    An ordinary user gets a user namespace, in which their own uid appears as 1000. Root uses no user namespace for
    the mounts (its files would still be root's to the kernel) and really becomes 1000. With `locked` the notebook
    runs in a user namespace in which no further ones can be created (as root: in an inner one), so that a visitor
    cannot reach the parts of the kernel that only a namespace's root may use. In each case the notebook's system
    calls are filtered once all of this is set up.
    """

    program: str
    version: str
    as_root: bool
    locked: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """The visible parts of the machine: links (target, path), system directories, and Python's directories.

    `hidden` are files in /proc that reveal the machine rather than the notebook.
    """

    links: tuple[tuple[str, str], ...]
    system: tuple[str, ...]
    python: tuple[str, ...]
    hidden: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """A notebook server's directories, as it sees them. `runtime` and `temporary` are "" for the defaults."""

    prefix: str
    home: str
    socket: str
    support: str
    config: str
    workshops: str
    runtime: str = ""
    temporary: str = ""


def environment(
    places: Places, *, base_path: str, token: str, static_url: str = "", egress: str = "", warm_kernels: str = ""
) -> dict[str, str]:
    """The complete environment of a notebook server: nothing of the orchestrator's.

    It holds path and token, because every user of the machine can read a command line.
    """
    path = f"{places.support}/bin:{places.prefix}/bin:/usr/local/bin:/usr/bin:/bin"
    optional = {
        "JUPYTER_TOKEN": token,
        "JUPYTER_RUNTIME_DIR": places.runtime,
        "TMPDIR": places.temporary,
        "TMPNB_STATIC_URL": static_url,
        "TMPNB_EGRESS": egress,
        warm.VARIABLE: warm_kernels,
    }
    return {
        "HOME": places.home,
        "PATH": path,
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash",
        "USER": "jovyan",
        "LOGNAME": "jovyan",
        "JUPYTER_CONFIG_PATH": f"{places.support}/jupyter:{places.config}",
        "OPENBLAS_NUM_THREADS": "1",
        "TMPNB_BASE_PATH": base_path,
        "TMPNB_SOCKET": places.socket,
        "TMPNB_WORKSHOPS": places.workshops,
        **{name: value for name, value in optional.items() if value},
    }


def launch(
    supervisor: Sequence[str], *, groups: Iterable[str], limits: GroupLimits, memory_per_process: bool
) -> list[str]:
    """The first shell: waits until it reads "go" (see `process.Held`), sets limits, then becomes `supervisor`.

    If no control group bounds the memory of all processes together, each process is limited: its data (private and
    writable, including threads' stacks), not its address space, of which Python maps far more than it uses.
    """
    lines = ['IFS= read -r go && [ "$go" = go ] || exit 125', "exec </dev/null"]
    lines += [*_joining(groups), f"echo {OOM_SCORE_ADJ} >/proc/self/oom_score_adj || :", "ulimit -c 0 || :"]
    lines += [f"ulimit -n {_OPEN_FILES} || :"]
    if memory_per_process:
        lines.append(f"ulimit -d {limits.memory // 1024} || :")
    lines.append(f'exec nice -n {_NICENESS} "$@"')
    return ["/bin/sh", "-c", "\n".join(lines), "tmpnb-notebook", *supervisor]


def _joining(groups: Iterable[str]) -> list[str]:
    return [f"echo 0 >{shlex.quote(group)}/cgroup.procs || exit 126" for group in groups]


def log_keeper(groups: Iterable[str]) -> list[str]:
    """A command that leaves a background process, which reads a notebook's output and keeps the end of it.

    It writes to the directory on descriptor 3, and is nobody's child, as nobody waits for it.

    A notebook gets a pipe instead of a file: a writer of a file may also reserve space in it, lock it or change its
    mode, and fill the host's disk. The process runs in the notebook's control groups, as the notebook causes its
    work. The directory is not on the command line, because its name contains the id.
    """
    return ["/bin/sh", "-c", "\n".join([*_joining(groups), _KEEP_LOG]), "tmpnb-log"]


def unprotected(command: str) -> list[str]:
    """The supervisor without a sandbox: runs the command and writes its exit status to descriptor 3."""
    return ["/bin/sh", "-c", _SUPERVISE, "tmpnb-notebook", command]


def sandboxed(
    sandbox: Sandbox,
    layout: Layout,
    shown: Sequence[tuple[str, str]],
    command: str,
    *,
    home_size: int,
    tmp_size: int,
    shm_size: int,
    network: bool,
    web: str = "",
    pids: int = 0,
) -> list[str]:
    """The supervisor with a sandbox.

    `shown` are further read-only (source, destination) pairs, including the support directory's. `pids` bounds
    processes and threads if no control group does: the kernel counts them per user namespace. The sizes of home,
    /tmp and /dev/shm are in bytes. `web` is the directory of the socket to the web proxy, "" where there is none.
    """
    support = next(source for source, destination in shown if destination == SUPPORT)
    inside = sandbox.as_root and sandbox.locked  # a second sandbox is created inside
    return [
        *_filter_opened(support),
        sandbox.program,
        *_namespaces(sandbox, network=network),
        *("--json-status-fd", "3", "--new-session", "--hostname", HOSTNAME),
        *(() if inside else _FILTERED),
        *_system(layout),
        *_memory(home_size, tmp_size, shm_size),
        *((*_directories([WEB_DIRECTORY]), "--ro-bind", web, WEB_DIRECTORY) if web else ()),
        *_etc(support, network=network),
        *_python(layout, shown),
        *("--remount-ro", "/", "--chdir", HOME, "--"),
        *_become_user(sandbox),
        *_command(command, pids if sandbox.locked or not sandbox.as_root else 0),
    ]


def _filter_opened(support: str) -> list[str]:
    """Runs the rest of a command line with the filter as descriptor 4."""
    return ["/bin/sh", "-c", 'exec "$@" 4<"$0"', f"{support}/{SECCOMP}"]


def _namespaces(sandbox: Sandbox, *, network: bool) -> list[str]:
    arguments = ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"]
    if not network:
        arguments.append("--unshare-net")
    if sandbox.as_root:
        return arguments + [part for one in _SETUP_CAPABILITIES for part in ("--cap-add", one)]
    return [*arguments, *_user_namespace(locked=sandbox.locked)]


def _user_namespace(*, locked: bool) -> list[str]:
    arguments = ["--unshare-user", "--uid", _USER, "--gid", _USER]
    return [*arguments, "--disable-userns"] if locked else arguments


def _system(layout: Layout) -> list[str]:
    arguments = [part for target, path in layout.links for part in ("--symlink", target, path)]
    arguments += [part for path in layout.system for part in ("--ro-bind", path, path)]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    return arguments + [part for path in layout.hidden for part in ("--ro-bind", "/dev/null", path)]


def _memory(home_size: int, tmp_size: int, shm_size: int) -> list[str]:
    """The writable directories. They belong to the visitor: as root, `_become_user` hands them over."""
    return [
        *_tmpfs("/dev/shm", shm_size, "1777"),  # noqa: S108 - the sandbox's own
        *("--remount-ro", "/dev"),
        *_tmpfs("/tmp", tmp_size, "1777"),  # noqa: S108
        *_directories(["/home", "/run"]),
        *_tmpfs(HOME, home_size, "0700"),
        *_tmpfs(SOCKET_DIRECTORY, _SOCKET_DIRECTORY_SIZE, "0700"),
    ]


def _tmpfs(path: str, size: int, mode: str) -> list[str]:
    return ["--perms", mode, "--size", str(size), "--tmpfs", path]


def _etc(support: str, *, network: bool) -> list[str]:
    names = _ETC + _ETC_NETWORK if network else _ETC
    arguments = [part for name in names for part in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")]
    for name in _ETC_OURS:
        arguments += ["--ro-bind", f"{support}/etc/{name}", f"/etc/{name}"]
    return [*_directories(["/etc", "/etc/pki", "/etc/pki/tls", "/etc/ssl"]), *arguments]


def _python(layout: Layout, shown: Sequence[tuple[str, str]]) -> list[str]:
    pairs = [*((path, path) for path in layout.python), *shown]
    arguments = _directories(_ancestors(destination for _, destination in pairs))
    for source, destination in pairs:
        arguments += ["--ro-bind", source, destination]
    return arguments


def _ancestors(paths: Iterable[str]) -> list[str]:
    """Parents of all paths, outermost first. bubblewrap would create them for root only."""
    parents = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return sorted(parents - {"/", "/tmp", HOME, SOCKET_DIRECTORY}, key=lambda path: (path.count("/"), path))  # noqa: S108


def _directories(paths: Iterable[str]) -> list[str]:
    return [part for path in paths for part in ("--perms", "0755", "--dir", path)]


def _become_user(sandbox: Sandbox) -> list[str]:
    """As root: hand over the writable directories, drop all capabilities for good and become the user."""
    if not sandbox.as_root:
        return []
    hand_over = f'chown {_USER}:{_USER} {HOME} {SOCKET_DIRECTORY} && exec "$@"'
    inner = [*_filter_opened(SUPPORT), sandbox.program, *_user_namespace(locked=True), *_FILTERED]
    inner += ["--dev-bind", "/", "/", "--chdir", HOME, "--"]
    return [
        *("/bin/sh", "-c", hand_over, "tmpnb-notebook"),
        *("setpriv", "--reuid", _USER, "--regid", _USER, "--clear-groups"),
        *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"),
        *(inner if sandbox.locked else ()),
    ]


def _command(command: str, pids: int) -> list[str]:
    if not pids:
        return ["/bin/sh", "-c", command]
    return ["/bin/sh", "-c", f'ulimit -p {pids} 2>/dev/null || ulimit -u {pids}; exec /bin/sh -c "$1"', "sh", command]
