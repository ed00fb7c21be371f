"""octave_kernel adapted to notebooks: a cell stops at its first error, and fails.

octave_kernel sends a cell line by line, continues after an error, prints it like other output and replies "ok". Here
Octave evaluates each cell as a whole, up to an error; an environment variable tells whether it reached the end.
"""

import atexit
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pexpect
from ipykernel.kernelbase import StdinNotImplementedError
from octave_kernel.kernel import OctaveKernel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from placed import Placed

_MARK = "TMPNB_CELL"
_ERROR = re.compile(r"^(?:parse error|error: (?!called from)).*", re.MULTILINE)
_PATIENCE = 1.0  # seconds for Octave to stop after each attempt
_ENDED = "Octave has ended, perhaps for lack of memory. There is a new one, which knows nothing of the cells before."
_NO_KEYBOARD = "This cell asks for input, and nobody can be asked here."
_NO_NETWORK = "This notebook has no network: nothing outside of it can be reached."
_ABOUT_NETWORK = re.compile(r"resolve host|resolve proxy|Couldn't connect to server|Network is unreachable")


class CellKernel(Placed, OctaveKernel):
    """Runs cells in one Octave; see the module's docstring."""

    def __init__(self, *arguments, **options):
        directory = tempfile.mkdtemp(prefix="octave-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        self._cell = Path(directory, "cell.m")
        self._held = ""
        self._was_stopped = self._has_ended = False
        super().__init__(*arguments, **options)

    def makeWrapper(self):  # noqa: N802 - metakernel's name
        """Start an Octave with our way of interrupting."""
        wrapper = super().makeWrapper()
        wrapper.interrupt = self._interrupt
        return wrapper

    def get_ready(self):
        """Start Octave, with its settings for plots."""
        self.wrapper = self.makeWrapper()
        self.octave_engine._startup()

    def move(self, session):
        """Octave follows, as it takes a third of a second to start. Its history is that of one that started here."""
        history = self._cell.with_name("history")
        ask = self.octave_engine.eval
        place = f"cd ({_quoted(str(Path.cwd()))}); history ('-w', {_quoted(str(history))});"
        if session is not None:
            place += f" setenv ('JPY_SESSION_NAME', {_quoted(session)});"
        problem = ask(place, silent=True).strip()
        if problem:
            raise RuntimeError(problem)
        *lines, _ = history.read_text().splitlines()
        lines = [line.replace('cd("/")', f'cd("{Path.cwd()}")') for line in lines]
        history.write_text("".join(f"{line}\n" for line in lines))
        ask(f"history ('-c'); history ('-r', {_quoted(str(history))});", silent=True)
        history.unlink()

    def do_execute_direct(self, code, silent=False):
        """Run a cell. Its reply is in `kernel_resp`."""
        if silent or not code.strip() or code.strip() in ("quit", "quit()", "exit", "exit()"):
            return super().do_execute_direct(code, silent=silent)
        self._held = ""
        self._was_stopped = self._has_ended = False
        self._cell.write_text(f"{code}\n")
        run = f'setenv("{_MARK}", "begun"); eval(fileread("{self._cell}")); setenv("{_MARK}", "done");'
        value = super().do_execute_direct(run)
        last, self._held = self._held, ""
        if self._has_ended:
            self._fail(f"error: {_ENDED}")
        elif self._was_stopped:
            self._show(last)
            self.kernel_resp = {"status": "abort", "execution_count": self.execution_count}
        elif self.kernel_resp.get("status") == "ok" and not self._is_done():
            self._fail(last.replace("\r", "").strip())
        else:
            self._show(last)
        return value

    def _is_done(self):
        return "done" in self.octave_engine.eval(f'disp(getenv("{_MARK}"))', silent=True)

    def _fail(self, text):
        text = text or "error: the cell did not come to its end"
        if os.environ.get("TMPNB_EGRESS") == "none" and _ABOUT_NETWORK.search(text):
            text = f"{text}\n{_NO_NETWORK}"
        name, _, message = text.partition("\n")[0].partition(":")
        content = {"ename": name, "evalue": message.strip(" :"), "traceback": [text]}
        self.send_response(self.iopub_socket, "error", content)
        self.kernel_resp = {"status": "error", "execution_count": self.execution_count, **content}

    def _interrupt(self, continuation=False):
        """Interrupt: first Ctrl-C, then an empty line for a program that waits for one, at last restart."""
        self._was_stopped = True
        wrapper = self.octave_engine.repl
        for line in (wrapper.prompt_change_cmd if continuation else None, "", ""):
            wrapper.child.sendintr()
            if line is not None:
                wrapper.sendline(line)
            try:
                wrapper.child.expect(wrapper.prompt_regex, timeout=_PATIENCE)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
            return wrapper.child.before
        wrapper.child.close(force=True)
        self.restart_kernel()
        return ""

    def restart_kernel(self):
        """Replace an Octave that has ended."""
        self._has_ended = True
        self._octave_engine = None
        super().restart_kernel()

    def Write(self, message):  # noqa: N802 - metakernel's name
        """Show output, but hold back the last error, as it is not known yet whether it ends the cell."""
        self._held += message
        starts = [found.start() for found in _ERROR.finditer(self._held)]
        shown = self._held[: starts[-1]] if starts else self._held
        self._held = self._held[len(shown) :]
        self._show(shown)

    def _show(self, text):
        if text:
            super().Write(text)

    def raw_input(self, text):
        """Ask the visitor. If that is impossible, Octave gives up: it would take the next cell for the answer."""
        try:
            return super().raw_input(text)
        except StdinNotImplementedError:
            self._interrupt()
            self._was_stopped = False
            raise RuntimeError(_NO_KEYBOARD) from None


def _quoted(text):
    return "'" + text.replace("'", "''") + "'"


CellKernel.run_as_main()
