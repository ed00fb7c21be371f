"""gnuplot_kernel adapted to notebooks: a failing cell is an error.

gnuplot_kernel shows gnuplot's errors like other output, replies "ok", and complains of each cell without a plot that
none could be shown. gnuplot itself keeps the last error in a variable.
"""

import sys
from pathlib import Path

from gnuplot_kernel.kernel import GnuplotKernel
from IPython.display import SVG, Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from placed import Placed


class CellKernel(Placed, GnuplotKernel):
    """Runs cells in one gnuplot; see the module's docstring."""

    __module__ = GnuplotKernel.__module__  # beside which metakernel looks for magics

    def move(self, session):
        """gnuplot is started by the first cell."""

    def _do_execute_direct(self, code):
        """Run a cell. Its reply is in `kernel_resp`."""
        result = super()._do_execute_direct(code)
        ask = self.wrapper.run_command
        if ask("print GPVAL_ERRNO").strip() in ("", "0"):
            return result
        message = ask("print GPVAL_ERRMSG").strip()
        ask("reset errors")
        text = (result.output if result else "").strip() or message
        content = {"ename": "gnuplot", "evalue": message, "traceback": [text]}
        self.send_response(self.iopub_socket, "error", content)
        self.kernel_resp = {"status": "error", "execution_count": self.execution_count, **content}
        return None

    def display_images(self):
        """Show the plots, if any."""
        show = SVG if self.plot_settings["format"] == "svg" else Image
        for file in self.iter_image_files() if self.inline_plotting else ():
            if file.exists() and file.stat().st_size:
                self.Display(show(str(file)))


CellKernel.run_as_main()
