"""What a visitor could tell the first Python kernel by, which began together with the server. Runs inside the image.

Starts a server, the first kernel and a later one (which is started as anywhere), and prints as JSON what each of them
finds in itself, and what becomes of the first when it is debugged, interrupted, restarted and killed. Not so with
arguments: `packages` has the visitor install some before the first kernel, `killed` ends what waits for it.
"""

import contextlib
import json
import os
import signal
import site
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

PORT = 8888
PROBE = r"""
def probe():
    import asyncio, faulthandler, gc, json, locale, os, random, resource, signal, subprocess, sys, threading, time
    import uuid, warnings

    def read(name):
        with open("/proc/self/" + name) as file:
            return file.read()

    def plain(one):
        return repr(one).partition(" at 0x")[0]

    def opened(number):
        try:
            return os.readlink(f"/proc/self/fd/{number}").partition(":[")[0]
        except OSError:
            return "the list itself"

    me, main, shell = os.getpid(), threading.main_thread(), get_ipython()
    status = dict(line.split(":\t", 1) for line in read("status").splitlines())
    rights = ("Uid", "Gid", "Groups", "CapEff", "NoNewPrivs", "Seccomp", "Umask", "Cpus_allowed")
    alike = {
        "modules": sorted(sys.modules), "main": sorted(vars(sys.modules["__main__"])),
        "argv": sys.argv, "orig_argv": sys.orig_argv, "command": read("cmdline").rstrip("\0"), "name": read("comm"),
        "path": sys.path, "importers": sorted(sys.path_importer_cache),
        "finders": [getattr(one, "__qualname__", repr(one)) for one in sys.meta_path + sys.path_hooks],
        "executable": [sys.executable, sys.prefix, sys.base_prefix, os.readlink("/proc/self/exe")],
        "flags": repr(sys.flags), "options": [sys._xoptions, sys.warnoptions, repr(warnings.filters)],
        "environment": {**os.environ}, "of programs": os.popen("env -0 | sort -z").read().split("\0"),
        "directory": os.getcwd(),
        "parent": [os.getppid() == int(os.environ["JPY_PARENT_PID"]), open(f"/proc/{os.getppid()}/comm").read()],
        "session": [os.getpgid(0) == me, os.getsid(0) == me],
        "handlers": {str(one): plain(signal.getsignal(one)) for one in signal.valid_signals()},
        "signals": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt")],
        "rights": [status[name] for name in rights],
        "limits": [read("limits"), read("oom_score_adj"), os.nice(0)],
        "descriptors": sorted({opened(one) for one in os.listdir("/proc/self/fd")}),
        "streams": [opened(one) for one in range(3)], "nothing to read": os.read(0, 1).decode(),
        "threads": sorted("".join(c for c in one.name if not c.isdigit()) for one in threading.enumerate()),
        "next thread": threading.Thread().name,
        "main thread": [main.native_id == me, threading.current_thread() is main],
        "collector": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
        "hooks": [plain(sys.excepthook), plain(sys.gettrace()), plain(sys.getprofile()), faulthandler.is_enabled()],
        "interpreter": [sys.getrecursionlimit(), sys.getswitchinterval(), plain(asyncio.get_event_loop_policy())],
        "locale": [locale.getlocale(), sys.getfilesystemencoding(), sys.stdin.encoding],
        "shell": [plain(shell), shell.execution_count, shell.history_manager.input_hist_raw, sorted(shell.user_ns)],
        "magics": sorted(shell.magics_manager.magics["line"]),
        "a program's": subprocess.run("echo $PATH $TZ", shell=True, capture_output=True, text=True).stdout,
    }
    own = {
        "pid": me, "random": random.random(), "uuid": uuid.uuid4().hex, "secret": os.urandom(8).hex(),
        "hash": hash("a"), "processor": time.process_time(), "frozen": gc.get_freeze_count(),
    }
    return json.dumps([alike, own])
print(probe())
"""


def ask(method: str, path: str, body: Any = None) -> Any:
    """What the server answers; None while there is none."""
    data = None if body is None else json.dumps(body).encode()
    with contextlib.suppress(OSError):
        request = urllib.request.Request(f"http://127.0.0.1:{PORT}/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")
    return None


class Kernel:
    """One of the server's, and a connection to it."""

    def __init__(self) -> None:
        self.id = ask("POST", "api/kernels", {"name": "python3"})["id"]
        self.connect()

    def connect(self) -> None:
        runtime = Path.home() / ".local/share/jupyter/runtime"
        self.client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{self.id}.json"))
        self.client.load_connection_file()
        self.client.start_channels(hb=False)  # it would call a kernel dead that needs a second to start
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, do: Any = None) -> str:
        """What a cell prints, or its error's name; `do` is done once it has printed something."""
        sent, printed = self.client.execute(code), ""
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]
                if do is not None:
                    do()
            elif message["msg_type"] == "error":
                printed += message["content"]["ename"]
            elif message["content"].get("execution_state") == "idle":
                return printed

    def debug(self, *commands: tuple[str, dict[str, Any]]) -> list[bool]:
        """Whether each of the debugger's commands succeeds."""
        found = []
        for number, (command, arguments) in enumerate(commands):
            content = {"type": "request", "seq": number + 1, "command": command, "arguments": arguments}
            message = self.client.session.msg("debug_request", content)
            self.client.control_channel.send(message)
            while True:
                reply = self.client.get_control_msg(timeout=60)
                if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                    break
            found.append(bool(reply["content"].get("success")))
        return found

    def interrupt(self) -> None:
        ask("POST", f"api/kernels/{self.id}/interrupt")

    def restart(self) -> None:
        ask("POST", f"api/kernels/{self.id}/restart")
        self.client.stop_channels()
        self.connect()


def commands() -> list[str]:
    """Of all processes but the first, and this one and its like."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(place.name) not in (1, os.getpid()):
                found.append(f"{place.name}: {(place / 'cmdline').read_bytes().decode() or 'a zombie'}")
    return found


def tried(kernel: Kernel) -> dict[str, Any]:
    """What becomes of a kernel that is treated as visitors do."""
    debugged = kernel.debug(
        ("debugInfo", {}),
        ("initialize", {"clientID": "t", "adapterID": "", "linesStartAt1": True, "columnsStartAt1": True}),
        ("attach", {}),
        ("dumpCell", {"code": "1 + 1"}),
        ("configurationDone", {}),
        ("disconnect", {"restart": False, "terminateDebuggee": False}),
    )
    stopped = kernel.run("import time; print('begun')\nfor _ in range(600): time.sleep(0.1)", kernel.interrupt)
    forked = kernel.run("import multiprocessing as m\nwith m.Pool(2) as p: print(p.map(abs, [-1, 2]))")
    drawn = kernel.run("import numpy\nprint(len({numpy.random.default_rng().random() for _ in range(9)}))")
    kernel.run("before = 1")
    kernel.restart()
    again = kernel.run("print('before' in dir())")
    pid = int(kernel.run("import os; print(os.getpid())"))
    os.kill(pid, signal.SIGKILL)
    # Jupyter starts it anew, and does not end well before it has.
    kernel.client.stop_channels()
    while not [one for one in commands() if kernel.id in one and not one.startswith(f"{pid}:")]:
        time.sleep(0.1)
    kernel.connect()
    return {
        "debugger": debugged,
        "interrupt": stopped,
        "pool": forked,
        "numpy": drawn,
        "after a restart": again,
        "after its death": kernel.run("print(1)"),
    }


def main() -> None:
    """Run it all."""
    server = subprocess.Popen(
        [
            "start-notebook.sh",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={PORT}",
            "--IdentityProvider.token=",
            "--ServerApp.disable_check_xsrf=True",
        ],
        stdout=sys.stderr,
    )
    while ask("GET", "api") is None:
        time.sleep(0.1)
    names = Path(f"/proc/{server.pid}/comm").read_text(), Path(f"/proc/{server.pid}/cmdline").read_bytes().decode()
    if "packages" in sys.argv:
        Path(site.getusersitepackages()).mkdir(parents=True)
    if "killed" in sys.argv:
        waiting = next(one for one in commands() if "tmpnb_start.py" in one)
        os.kill(int(waiting.partition(":")[0]), signal.SIGKILL)
    first, later = Kernel(), Kernel()
    told: dict[str, Any] = {"server": names, "kernels": [json.loads(one.run(PROBE)) for one in (first, later)]}
    if not sys.argv[1:]:
        told["tried"] = tried(first)
    server.send_signal(signal.SIGTERM)
    told["status"] = server.wait(60)
    time.sleep(2)
    told["left"] = commands()
    print(json.dumps(told))


main()
