"""octave_kernel, which goes on with a fresh Octave after the one it had was ended, as for want of memory.

By itself it keeps the dead one, and each cell from then on fails with "Bad file descriptor".
"""

import contextlib

from octave_kernel.kernel import OctaveKernel

ENDED = (
    "Octave was ended, most likely because this notebook has no memory left. A fresh one has been started: "
    "its variables are lost, so run the cells above again, with less data at a time.\n"
)


class Octave(OctaveKernel):  # type: ignore[misc]
    """The kernel that the notebook talks to."""

    def makeWrapper(self):  # noqa: N802 - the base class names it
        """The Octave that cells run in: asked for at the start, and again when it has ended."""
        engine = self._octave_engine
        if engine is not None and not engine.repl.child.isalive():
            with contextlib.suppress(Exception):
                engine._cleanup()
            self._octave_engine = None
            self.Error(ENDED)
        wrapper = super().makeWrapper()
        if not self.octave_engine._has_startup:
            self.octave_engine._startup()
        return wrapper


if __name__ == "__main__":
    Octave.run_as_main()
