"""Run cells in a kernel, as a notebook does, and print what came of each as JSON. Runs inside the image.

Read from standard input: `{"kernel": …, "cells": [[code, seconds until Stop or 0, answer], …]}`. The answer is what a
question gets: null where nobody can be asked, "" for somebody who says nothing.
"""

import contextlib
import json
import queue
import sys
import threading
import time
from typing import Any

from jupyter_client.manager import KernelManager

wanted = json.load(sys.stdin)
manager = KernelManager(kernel_name=wanted["kernel"])
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)


def run(code: str, stop: float, answer: str | None) -> list[Any]:
    """What came of a cell: its status, its outputs, and the seconds that it took."""
    began, reply, is_idle = time.monotonic(), None, False
    outputs: list[list[str]] = []
    wanted_id = client.execute(code, allow_stdin=answer is not None)
    if stop:
        threading.Timer(stop, manager.interrupt_kernel).start()
    while reply is None or not is_idle:
        if time.monotonic() - began > 45:
            return ["never ended", outputs, 45]
        # No wait but for outputs: of those that are not read some thousand are kept, and then the cell's end is lost.
        for ask, seconds in ((client.get_iopub_msg, 0.02), (client.get_shell_msg, 0), (client.get_stdin_msg, 0)):
            with contextlib.suppress(queue.Empty):
                message = ask(timeout=seconds)
                kind, content = message["msg_type"], message["content"]
                if kind == "input_request":
                    if answer:
                        client.input(answer)
                elif message["parent_header"].get("msg_id") != wanted_id:
                    continue
                elif kind == "execute_reply":
                    reply = content
                elif kind == "status":
                    is_idle = content["execution_state"] == "idle"
                elif kind == "stream":
                    outputs.append([content["name"], content["text"].replace("\r\n", "\n")])
                elif kind == "error":
                    outputs.append(["error", "\n".join(content["traceback"])])
                elif kind in ("display_data", "execute_result"):
                    outputs.append(["display", content["data"].get("text/plain", "")])
    return [reply["status"], outputs, time.monotonic() - began]


print(json.dumps([run(*cell) for cell in wanted["cells"]]))
client.stop_channels()
manager.shutdown_kernel(now=True)
