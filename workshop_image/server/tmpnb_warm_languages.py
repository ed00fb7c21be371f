"""What is said to a kernel of each language, so that a started one becomes that of a notebook.

Packages are *loaded*, never attached or bound to a name: code that runs here runs after a restart and at home. Then
the working directory and JPY_SESSION_NAME are set, as if the kernel had been started with them. Nothing of it may be
seen: `tests/image/test_warm.py` compares such kernels with fresh ones.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmpnb_warm_line import Line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_client.kernelspec import KernelSpec

SESSION = "JPY_SESSION_NAME"
METADATA = "tmpnb_warm"  # in kernel.json of kernels that understand `tmpnb_place_request`


class RefusedError(Exception):
    """A kernel cannot become that notebook's, or a package cannot be loaded; the text says why."""


class Language:
    """How kernels of a language are prepared."""

    # Files that a kernel reads when it starts: in the home (as patterns), and in its working directory.
    at_home: tuple[str, ...] = ()
    at_work: tuple[str, ...] = ()

    async def load(self, line: Line, packages: tuple[str, ...]) -> None:
        """Load packages, and do once what the first cell would wait for. Raises RefusedError."""
        raise NotImplementedError

    async def place(self, line: Line, folder: str, session: str | None) -> None:
        """Make a kernel that of a notebook in `folder`. Raises RefusedError."""
        raise NotImplementedError

    def startup_files(self, home: Path) -> dict[str, int]:
        """The files of the home that were read at the start, with their times."""
        found = {}
        for pattern in self.at_home:
            for path in home.glob(pattern):
                found[str(path)] = path.stat().st_mtime_ns
        return found

    def is_plain(self, folder: str) -> bool:
        """Whether a kernel that starts in `folder` reads nothing there."""
        return not any(os.path.lexists(os.path.join(folder, name)) for name in self.at_work)  # noqa: PTH118


class Python(Language):
    """IPython's kernel. It is placed by a request of ours, as a cell takes it twice as long."""

    at_home = (
        ".ipython/profile_default/*.py",
        ".ipython/profile_default/*.json",
        ".ipython/profile_default/startup/*.py",
        ".ipython/profile_default/startup/*.ipy",
        ".local/lib/python*/site-packages",
        ".config/matplotlib/matplotlibrc",
    )
    at_work = ("matplotlibrc",)

    def __init__(self) -> None:
        self._knows_request = False

    async def load(self, line: Line, packages: tuple[str, ...]) -> None:
        problem = await self._do(line, _PYTHON_PLACE + _PYTHON_LOAD, packages)
        if problem:
            raise RefusedError(problem)
        self._knows_request = True
        await line.execute("pass", silent=True)

    async def place(self, line: Line, folder: str, session: str | None) -> None:
        if self._knows_request:
            await _place(line, folder, session)
        elif problem := await self._do(line, _PYTHON_PLACE + "problem = place(*given)", (folder, session)):
            raise RefusedError(problem)

    async def _do(self, line: Line, source: str, arguments: object) -> str:
        """Run a program in a namespace of its own, as an expression: a cell would leave traces. Its `problem`."""
        call = f"(lambda own: (exec({source!r}, own), own['problem'])[1])({{'given': {arguments!r}}})"
        answer = await line.execute("", silent=True, expressions={"problem": call})
        result = answer.content.get("user_expressions", {}).get("problem", {})
        if result.get("status") != "ok":
            return f"{result.get('ename', 'no answer')}: {result.get('evalue', '')}"
        return str(ast.literal_eval(result["data"]["text/plain"]))


# A module that is beside the notebook comes before one of the same name that is installed, unless that is loaded.
_PYTHON_PLACE = """
import os, pathlib, sys
loaded = set()

def place(folder, session):
    beside = {name.partition(".")[0] for name in os.listdir(folder)} & loaded
    if beside:
        return f"there is a {min(beside)} beside the notebook"
    os.chdir(folder)
    shell = sys.modules["IPython"].get_ipython()
    shell.starting_dir = os.getcwd()
    shell.history_manager.dir_hist[:] = [pathlib.Path.cwd()]
    if session is not None:
        os.environ["JPY_SESSION_NAME"] = session
        shell.user_ns["__session__"] = shell.user_ns_hidden["__session__"] = session
    return ""
"""

# The request can be made once.
_PYTHON_LOAD = """
import importlib
before = set(sys.modules)
problem = ""
for name in given:
    try:
        importlib.import_module(name)
    except BaseException as error:
        problem = f"{name}: {type(error).__name__}: {error}"
        break
loaded |= {name.partition(".")[0] for name in set(sys.modules) - before}
kernel = sys.modules["IPython"].get_ipython().kernel

def on_request(stream, ident, parent):
    del kernel.shell_handlers["tmpnb_place_request"]
    told = parent["content"]
    try:
        problem = place(told["folder"], told["session"])
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    content = {"status": "error" if problem else "ok", "evalue": problem}
    kernel.session.send(stream, "tmpnb_place_reply", content, parent, ident)

kernel.shell_handlers["tmpnb_place_request"] = on_request
"""


async def _place(line: Line, folder: str, session: str | None) -> None:
    """Ask a kernel that understands our request. Raises RefusedError."""
    answer = await line.ask("tmpnb_place_request", {"folder": folder, "session": session})
    if answer.content.get("status") != "ok":
        raise RefusedError(str(answer.content.get("evalue", "")))


class R(Language):
    """IRkernel. It is placed by a comm, as a cell takes it ten times as long."""

    at_home = (".Rprofile", ".Renviron", "R/*/*")
    at_work = (".Rprofile", ".Renviron", ".RData")

    async def load(self, line: Line, packages: tuple[str, ...]) -> None:
        for package in packages:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9.]*", package):  # as CRAN has it; it becomes code
                raise RefusedError(f"{package}: no package of R can be called so")
        # Not silent: a silent cell that fails is said to be well.
        code = _R_LOAD.replace("PACKAGES", ", ".join(f"'{package}'" for package in packages))
        answer = await line.execute(code, silent=False)
        said = answer.text.rpartition("tmpnb: ")[2]
        if said != "done":
            raise RefusedError(said or str(answer.content.get("evalue", "")) or "R gave no answer")

    async def place(self, line: Line, folder: str, session: str | None) -> None:
        closed = await line.open("tmpnb", {"folder": folder, "session": session})
        if closed.get("placed") is not True:
            raise RefusedError("R did not change its directory")


# Packages that only attach others, as tidyverse and tidymodels do, name them in `core`. What a package says when it
# is loaded, such as whose methods it replaces, is said when it is attached.
_R_LOAD = """
base::local({
  load <- function(package) {
    said <- character()
    namespace <- withCallingHandlers(loadNamespace(package), message = function(told) {
      said <<- c(said, conditionMessage(told))
      invokeRestart("muffleMessage")
    })
    if (length(said)) setHook(packageEvent(package, "attach"), function(...) {
      if (length(said)) packageStartupMessage(said, appendLF = FALSE)
      said <<- character()
    })
    namespace
  }
  problem <- tryCatch({
    for (package in c(PACKAGES)) {
      core <- get0("core", load(package), mode = "character", inherits = FALSE)
      for (one in core) load(one)
    }
    "done"
  }, error = function(error) paste0(package, ": ", conditionMessage(error)))
  if (exists(".Random.seed", globalenv(), inherits = FALSE)) rm(".Random.seed", envir = globalenv())
  comms <- IRkernel::comm_manager()
  comms$register_target("tmpnb", function(comm, data) {
    comms$unregister_target("tmpnb")
    setwd(data$folder)
    if (nzchar(Sys.getenv("PWD"))) Sys.setenv(PWD = getwd())
    if (!is.null(data$session)) Sys.setenv(JPY_SESSION_NAME = data$session)
    comm$close(list(placed = TRUE))
  })
  cat("tmpnb: ", problem, sep = "")
})
"""


class Placed(Language):
    """Our kernels for programs that expect a terminal, which understand `tmpnb_place_request`."""

    def __init__(self, name: str) -> None:
        self._name = name
        if name == "octave":
            self.at_home = (".octaverc",)

    async def load(self, line: Line, packages: tuple[str, ...]) -> None:
        if packages:
            how = "attaches a package when it loads it" if self._name == "octave" else "has no packages"
            raise RefusedError(f"{packages[0]}: {self._name} {how}")
        await line.ask("tmpnb_ready_request", {})

    async def place(self, line: Line, folder: str, session: str | None) -> None:
        await _place(line, folder, session)


def language_of(spec: KernelSpec) -> Language | None:
    """How a kernel is prepared; None if that is not known."""
    metadata: Mapping[str, Any] = spec.metadata or {}
    if metadata.get(METADATA):
        return Placed(spec.language.lower())
    argv = " ".join(spec.argv)
    if "ipykernel_launcher" in argv:
        return Python()
    return R() if spec.language == "R" else None
