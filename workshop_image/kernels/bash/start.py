"""bash_kernel, as a notebook's cells want it: each is one piece of a script, and nothing in it waits for a keyboard.

A cell is written to a file that the shell reads (`source`), with nothing on its standard input. So a quotation mark
that is left open is an error rather than a wait for its end, and a program that asks for input sees the end of it.
What a command's exit status says (that `grep` found nothing, that files differ) is shown, and is no error: a notebook
goes on, as a script does. Only what the shell cannot read, and the end of the shell itself, are errors.
"""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pexpect
from ipykernel.kernelapp import IPKernelApp


class _Spawn(pexpect.spawn):  # type: ignore[type-arg, misc]
    """Without the 50 ms that pexpect waits before each line it sends: those are two seconds at each start.

    The pause is for programs that turn the terminal's echo off to read a password; bash starts without echo.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.delaybeforesend = None


pexpect.spawn = _Spawn

from bash_kernel.kernel import BashKernel  # noqa: E402 - it has to find the class above

_HERE = Path(__file__).resolve().parent
_PATIENCE = 1.5  # seconds for a program to end after each signal
_ENDED = "The shell has ended. There is a new one, which knows nothing of the cells before."


class CellKernel(BashKernel):
    """Runs cells in one shell; see the module."""

    def __init__(self, **options):
        directory = tempfile.mkdtemp(prefix="bash-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        self._cell = Path(directory, "cell")
        self._source = f"source {self._cell} </dev/null"
        self._is_unreadable = False
        super().__init__(**options)

    def _start_bash(self):
        super()._start_bash()
        self.bashwrapper.run_command(f" source {_HERE}/cells.sh {_HERE}/edit.sh")

    def do_execute(self, code, silent, *_unused, **_options):
        """Run a cell. Its reply is an error where the shell could not read it, or has ended with one."""
        self.silent = silent
        self._is_unreadable = False
        if not code.strip():
            return self._ok()
        try:
            self._cell.write_text(f"{code}\n")
            self.bashwrapper.run_command(f" {self._source}", timeout=None)
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
        """The status of the cell's last command; the cell is in the shell's history from now on."""
        said = self.bashwrapper.run_command(f' {{ echo $?; history -s "$(<{self._cell})"; }} 2>/dev/null')
        word = said.strip().partition("\r\n")[0]
        return int(word) if word.isdecimal() else 0

    def _tell(self, status):
        """A quiet note of what is no error."""
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
        """Show what came, without what is ours: the cell's file, and how it is read."""
        if f"{self._cell}: line " in output:
            output = output.replace(f"{self._cell}: line ", "line ")
            self._is_unreadable |= "syntax error" in output or "unexpected EOF" in output
        if output.strip().lstrip("+ ") not in (self._source, self._source.partition(" <")[0]):  # set -x, set -v
            super().process_output(output)

    # --- what does not end by itself

    def _stop(self):
        """Stop what runs: as Ctrl-C does, and what does not heed that by force. The shell goes on where it can."""
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
            return
        self._begin_anew()

    def _signal_program(self, number):
        """Signal what has the terminal, unless that is the shell."""
        child = self.bashwrapper.child
        try:
            group = os.tcgetpgrp(child.fileno())
            if group not in (child.pid, 0):
                os.killpg(group, number)
        except OSError:
            pass  # it has just ended

    def _begin_anew(self):
        """A new shell in the place of one that is no more. Returns the reply to what ended it."""
        child = self.bashwrapper.child
        self.process_output(child.before if isinstance(child.before, str) else "")
        child.close(force=True)
        self._start_bash()
        if child.exitstatus or child.signalstatus:
            return self._error(f"Exit status {child.exitstatus or 128 + child.signalstatus}", _ENDED)
        if not self.silent:
            self.send_response(self.iopub_socket, "stream", {"name": "stderr", "text": f"{_ENDED}\n"})
        return self._ok()


IPKernelApp.launch_instance(kernel_class=CellKernel)
