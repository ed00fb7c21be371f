"""Kernels that can be started before it is known for which notebook (server/tmpnb_warm_kernels.py).

Two requests, which only the notebook's server sends: `tmpnb_ready_request` does what the first cell would wait for,
`tmpnb_place_request` sets the working directory and JPY_SESSION_NAME, also of the program that the kernel drives.
"""

import os


class Placed:
    """Answers the requests. Comes before the kernel's class."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.shell_handlers["tmpnb_ready_request"] = self._on_ready
        self.shell_handlers["tmpnb_place_request"] = self._on_place

    def get_ready(self):
        """Do what the first cell would wait for."""

    def move(self, session):
        """Make the program that this kernel drives what it would be if it were started now, in this directory.

        `session` is the value of JPY_SESSION_NAME, None if it is not set.
        """
        raise NotImplementedError

    def _on_ready(self, stream, ident, parent):
        self._answer(self.get_ready, "tmpnb_ready_reply", stream, ident, parent)

    def _on_place(self, stream, ident, parent):
        folder, session = parent["content"]["folder"], parent["content"]["session"]

        def place():
            os.chdir(folder)
            if session is not None:
                os.environ["JPY_SESSION_NAME"] = session
            self.move(session)

        self._answer(place, "tmpnb_place_reply", stream, ident, parent)

    def _answer(self, work, reply, stream, ident, parent):
        content = {"status": "ok"}
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the server then starts another kernel
            content = {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
        self.session.send(stream, reply, content, parent, ident)
