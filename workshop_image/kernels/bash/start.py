"""bash_kernel adapted to notebooks: each cell is a piece of a script, and nothing waits for a keyboard.

A cell is written to a file that the shell sources, with empty standard input. So an open quotation mark is an error
instead of a wait, and a program that reads input sees its end. A command's exit status (`grep` found nothing, files
differ) is shown but is no error: the notebook goes on, like a script. Only syntax errors and the end of the shell are
errors.
"""

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pexpect
from ipykernel.kernelapp import IPKernelApp


class _Spawn(pexpect.spawn):  # type: ignore[type-arg, misc]
    """Skips pexpect's pause of 50 ms before each line, which adds up to two seconds at each start.

    The pause is for programs that turn off the terminal's echo to read a password; bash starts without echo.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.delaybeforesend = None


pexpect.spawn = _Spawn

from bash_kernel.display import CONTENT_DATA_PREFIXES  # noqa: E402
from bash_kernel.kernel import BashKernel  # noqa: E402 - it has to find the class above

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from placed import Placed  # noqa: E402 - from the directory of all kernels

_HERE = Path(__file__).resolve().parent
_PATIENCE = 1.5  # seconds for a program to end after each signal
_ENDED = "The shell has ended. There is a new one, which knows nothing of the cells before."


class CellKernel(Placed, BashKernel):
    """Runs cells in one shell; see the module's docstring."""

    def __init__(self, **options):
        directory = tempfile.mkdtemp(prefix="bash-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        self._cell = Path(directory, "cell")
        self._source = f"source {self._cell} </dev/null"
        self._environment = dict(os.environ)  # the debugger for Python adds to it, later
        self._is_unreadable = False
        self._lines = []  # of a cell's output, to be shown together
        super().__init__(**options)

    def _start_bash(self):
        super()._start_bash()
        self.bashwrapper.run_command(f" source {_HERE}/cells.sh {_HERE}/edit.sh")

    def move(self, session):
        """Start the shell again, so that it has neither an age nor a directory before."""
        child = self.bashwrapper.child
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.ptyproc.delayafterclose = 0
        child.close()
        of_this_process = dict(os.environ)
        if session is not None:
            self._environment["JPY_SESSION_NAME"] = session
        os.environ.clear()
        os.environ.update(self._environment)
        try:
            self._start_bash()
        finally:
            os.environ.update(of_this_process)

    def do_execute(self, code, silent, *_unused, **_options):
        """Run a cell. Replies with an error if the shell could not parse it, or ended with an error."""
        self.silent = silent
        self._is_unreadable = False
        if not code.strip():
            return self._ok()
        try:
            self._cell.write_text(f"{code}\n")
            try:
                self.bashwrapper.run_command(f" {self._source}", timeout=None)
            finally:
                self._show_lines()
            status = self._exit_status()
        except OSError as error:  # /tmp is full
            return self._error(type(error).__name__, str(error))
        except KeyboardInterrupt:
            self._stop()
            return {"status": "abort", "execution_count": self.execution_count}
        except pexpect.EOF:
            return self._begin_anew()
        if self._is_unreadable:
            return self._error("Syntax error", "the shell cannot read this cell")
        self._tell(status)
        return self._ok()

    def _ok(self):
        return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}

    def _error(self, name, text):
        content = {"ename": name, "evalue": text, "traceback": [f"{name}: {text}"]}
        if not self.silent:
            self.send_response(self.iopub_socket, "error", content)
        return {"status": "error", "execution_count": self.execution_count, **content}

    def _exit_status(self):
        """Return the status of the cell's last command, and add the cell to the shell's history."""
        said = self.bashwrapper.run_command(f' {{ echo $?; history -s "$(<{self._cell})"; }} 2>/dev/null')
        word = said.strip().partition("\r\n")[0]
        return int(word) if word.isdecimal() else 0

    def _tell(self, status):
        """Show an exit status unobtrusively, as it is no error."""
        if not status or self.silent:
            return
        name = ""
        if status > 128:
            with_number = {one.value: one.name for one in signal.Signals}
            name = with_number.get(status - 128, "")
        text = f"exit status {status}" + (f" ({name})" if name else "")
        metadata = {"tmpnb": {"exit_status": status}}
        self.send_response(self.iopub_socket, "display_data", {"data": {"text/plain": text}, "metadata": metadata})

    def process_output(self, output):
        """Show output without our own parts: the cell's file name, and the command that sources it.

        Called for each line. Lines that have come together are shown together: a message for each of some thousand
        lines is more than Jupyter keeps (ZeroMQ's limit, `iopub_msg_rate_limit`), and then the cell's end is lost.
        """
        if f"{self._cell}: line " in output:
            output = output.replace(f"{self._cell}: line ", "line ")
            self._is_unreadable |= "syntax error" in output or "unexpected EOF" in output
        if output.strip().lstrip("+ ") in (self._source, self._source.partition(" <")[0]):  # set -x, set -v
            return
        if output.startswith(tuple(CONTENT_DATA_PREFIXES)):  # a picture, which keeps its place among the lines
            self._show_lines()
            super().process_output(output)
            return
        self._lines.append(output)
        remaining = self.bashwrapper.child.buffer  # what follows in it is given to us next
        if not any(end in remaining for end in "\n\r"):
            self._show_lines()

    def _show_lines(self):
        lines, self._lines = self._lines, []
        if lines:
            super().process_output("".join(lines))

    # --- interrupting

    def _stop(self):
        """Interrupt like Ctrl-C, then by force. Keeps the shell if possible."""
        wrapper = self.bashwrapper
        wrapper.child.sendintr()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                self._signal_program(number)
            try:
                wrapper._expect_prompt(timeout=_PATIENCE)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
            self.process_output(wrapper.child.before)
            self._show_lines()
            return
        self._begin_anew()

    def _signal_program(self, number):
        """Signal the foreground process, unless that is the shell."""
        child = self.bashwrapper.child
        try:
            group = os.tcgetpgrp(child.fileno())
            if group not in (child.pid, 0):
                os.killpg(group, number)
        except OSError:
            pass  # it has just ended

    def _begin_anew(self):
        """Replace a shell that has ended. Returns the reply to the cell that ended it."""
        child = self.bashwrapper.child
        self.process_output(child.before if isinstance(child.before, str) else "")
        self._show_lines()
        child.close(force=True)
        self._start_bash()
        if child.exitstatus or child.signalstatus:
            return self._error(f"Exit status {child.exitstatus or 128 + child.signalstatus}", _ENDED)
        if not self.silent:
            self.send_response(self.iopub_socket, "stream", {"name": "stderr", "text": f"{_ENDED}\n"})
        return self._ok()


IPKernelApp.launch_instance(kernel_class=CellKernel)
