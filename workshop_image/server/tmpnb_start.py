"""Start the notebook's server, and its first Python kernel from the same beginnings.

`start-notebook.sh` runs this in place of `jupyter-lab`. It leaves what our servers never use for when it is used.

Where a Python kernel is to be warm (TMPNB_WARM_KERNELS), server and kernel begin as one: they have 370 modules in
common, more than half of a kernel's. So this process imports these, forks the kernel's process, and goes on as the
server, with the process id that tini watches and signals. Meanwhile the other one imports what else a Python kernel
does, and waits to be told its command, directory and environment.

The waiting process becomes one kernel, the first, and only if a new interpreter would begin just like it. All others,
and restarted ones, are started as anywhere (`tmpnb_first_kernel`). A process that stays to be forked for each of them
would cost more memory than it saves: Python counts references in the objects themselves, so that each process soon
has its own copy of half of the pages.

Server and first kernel have a hash seed and an address layout in common. Both belong to one visitor, and no other
notebook has the same.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.machinery
import importlib.util
import json
import os
import resource
import runpy
import site
import socket
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LAUNCHER = "ipykernel_launcher"
OPTION = "-Xfrozen_modules=off"  # of kernels: else their debugger does not see Python's own modules
# Together they import only what both a server and a kernel import.
COMMON = (
    "jupyter_client", "packaging.version", "sqlite3", "tornado.platform.asyncio", "tornado.queues",
    "traitlets.config", "xmlrpc.client", "zmq.eventloop.zmqstream",
)  # fmt: skip
# Together they import what any kernel has imported when it first answers.
KERNELS = (
    "IPython.core.completerlib", "IPython.core.debugger", "IPython.core.logger", "IPython.core.oinspect",
    "IPython.extensions.storemagic", "faulthandler", "ipykernel.debugger", "ipykernel.ipkernel",
    "ipykernel.kernelapp", "ipykernel.zmqshell",
)  # fmt: skip
# A server imports these at its start, and uses them for what our notebooks never do, or hardly.
UNUSED = ("arrow", "requests", "websocket")
UNCALLED = {"jupyterlab.extensions.pypi": ("PyPIExtensionManager",), "rfc3986_validator": ("validate_rfc3986",)}
OF_A_KERNEL = ("JPY_", "JUPYTER_SERVER_")  # variables that Jupyter sets for each kernel
LONGEST = 100_000  # bytes of a request

waiting: tuple[int, socket.socket] | None = None  # in the server: the process that waits, and how to ask it


def begin() -> list[str] | None:
    """Fork. Returns in the server None, and in the other process the kernel's command, once it is told one."""
    global waiting  # noqa: PLW0603 - the server's part of this program finds it here
    for name in COMMON:
        __import__(name)
    gc.freeze()  # collecting would write to each object, so that no page would stay shared
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    number = os.fork()
    if number:
        theirs.close()
        waiting = number, ours
        return None
    ours.close()
    os.setsid()  # as a kernel: an interrupt is for it alone
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]  # Python 3.11 keeps the parent's
    os.environ["JPY_PARENT_PID"] = str(os.getppid())  # read by modules
    given = dict(os.environ)
    for name in KERNELS:
        __import__(name)
    return wait(theirs, given)


def wait(server: socket.socket, given: dict[str, str]) -> list[str]:
    """Until this process is to be a kernel: its command. Ends the process if there is none for it.

    `given` are the variables that it began with; those that modules have set since are in a new kernel's, too.
    """
    with server:
        message = server.recv(LONGEST)
        if not message:  # the server has ended
            os._exit(0)
        request = json.loads(message)
        if problem := unlike_a_new_one(request, given):
            server.send(json.dumps({"problem": problem}).encode())
            os._exit(0)
        become(request, given)
        server.send(b"{}")
    return list(request["argv"])


def unlike_a_new_one(request: dict[str, Any], given: dict[str, str]) -> str:
    """Why a new process with this command and environment would not begin as this one has; "" if it would."""
    if request["argv"][:4] != [sys.executable, OPTION, "-m", LAUNCHER]:
        return "another command"
    new = request["env"]
    changed = sorted(name for name in new.keys() | given.keys() if new.get(name) != given.get(name))
    for name in changed:
        if not name.startswith(OF_A_KERNEL):
            return f"another {name}"
    # Packages of the visitor's own are on the path of an interpreter that finds their directory at its start.
    own = site.getusersitepackages()
    if site.ENABLE_USER_SITE and os.path.isdir(own) != (own in sys.path):  # noqa: PTH112 - pathlib is a kernel's
        return "packages were installed"
    return "" if os.path.isdir(request["cwd"]) else "no such directory"  # noqa: PTH112


def become(request: dict[str, Any], given: dict[str, str]) -> None:
    """Take over what a new process is given."""
    os.chdir(request["cwd"])
    empty, end = os.pipe()
    os.dup2(empty, 0)
    os.close(empty)
    os.close(end)
    for name, limits in request["limits"].items():
        if resource.getrlimit(int(name)) != tuple(limits):
            resource.setrlimit(int(name), tuple(limits))
    set_since = {name: value for name, value in os.environ.items() if given.get(name) != value}
    os.environ.clear()
    os.environ.update(request["env"] | {"JPY_PARENT_PID": str(os.getppid())} | set_since)
    sys.orig_argv[:] = request["argv"]
    sys.argv[:] = request["argv"][2:3] + request["argv"][4:]
    show_as(request["argv"], os.path.basename(request["argv"][0]))  # noqa: PTH119


def show_as(argv: list[str], short: str) -> None:
    """Make `ps` show this process as the command that it stands for, if that fits where its own one is."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/comm", "w") as name:  # noqa: PTH123
            name.write(short)
        with open("/proc/self/stat") as stat:  # noqa: PTH123
            begin, end = (int(field) for field in stat.read().rpartition(")")[2].split()[45:47])
        text = b"".join(os.fsencode(one) + b"\0" for one in argv)
        if begin and len(text) <= end - begin:
            with open("/proc/self/mem", "r+b", buffering=0) as memory:  # noqa: PTH123
                memory.seek(begin)
                memory.write(text.ljust(end - begin, b"\0"))


# --- The server


def leave_for_later() -> None:
    """Call it before the server is imported."""
    sys.meta_path.insert(0, Later)
    for name, callables in UNCALLED.items():
        import_when_called(name, callables)


class Later:
    """Finds the packages in `UNUSED`, which are loaded when something of them is used (importlib.abc.MetaPathFinder).

    LazyLoader is Python's own.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        """The specification of a module; None for others than those."""
        if name not in UNUSED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def import_when_called(name: str, callables: tuple[str, ...]) -> None:
    """Have a module whose functions and classes import it when they are called: for `from name import function`."""
    placeholder = ModuleType(name)

    def real() -> ModuleType:
        if sys.modules.get(name) is placeholder:
            del sys.modules[name]
        return importlib.import_module(name)

    def caller(one: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            return getattr(real(), one)(*arguments, **options)

        return call

    def other(one: str) -> Any:
        if one.startswith("__"):  # importing asks whether it is a package
            raise AttributeError(one)
        return getattr(real(), one)

    for one in callables:
        setattr(placeholder, one, caller(one))
    placeholder.__getattr__ = other  # type: ignore[method-assign]
    sys.modules[name] = placeholder


def serve() -> None:
    """What `jupyter-lab` does."""
    sys.modules["tmpnb_start"] = sys.modules["__main__"]
    sys.argv[0] = os.path.join(os.path.dirname(sys.executable), "jupyter-lab")  # noqa: PTH118, PTH120
    sys.orig_argv[:] = [sys.executable, *sys.argv]
    show_as(sys.orig_argv, "jupyter-lab")
    leave_for_later()
    from jupyterlab.labapp import main  # noqa: PLC0415 - not in the kernel's process

    gc.enable()
    sys.exit(main())


if __name__ == "__main__":
    gc.disable()  # what is imported stays
    for _place in (sys.path.pop(0), __file__):  # this file's directory, which neither server nor kernel has
        sys.path_importer_cache.pop(_place, None)
    if "frozen_modules" not in sys._xoptions or begin() is None:
        serve()
    # From here on as `python -m ipykernel_launcher`, and nothing of this module is left to be seen.
    for _name in ("gc", "resource"):
        del sys.modules[_name]
    sys.modules["__main__"] = ModuleType("__main__")
    gc.enable()
    runpy._run_module_as_main(LAUNCHER)
