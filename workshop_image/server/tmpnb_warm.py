"""Kernels that are started before a visitor asks for one: `GET <base>/api/tmpnb/warm` tells their states.

The orchestrator names them in TMPNB_WARM_KERNELS, `{"kernels": {"ir": ["tidyverse"]}, "unused_seconds": 60}`: kernels
with the packages that they load. Without it none of this is imported (`etc/jupyter_server_config.py`). The kernels
are started, kept and handed over by `tmpnb_warm_kernels`.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tmpnb_warm_kernels import Wanted, WarmKernels
from tornado import web
from tornado.ioloop import IOLoop

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

VARIABLE = "TMPNB_WARM_KERNELS"

_DEFAULT_SECONDS = 60.0


def read(text: str) -> Wanted:
    """What the environment variable asks for. Raises ValueError if it is not as the module's docstring says."""
    told = json.loads(text)
    kernels = told["kernels"] if isinstance(told, dict) and "kernels" in told else None
    if not isinstance(kernels, dict):
        raise ValueError(f"{VARIABLE} has no kernels")
    seconds = told.get("unused_seconds", _DEFAULT_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e9:
        raise ValueError(f"{VARIABLE}: unused_seconds is a number of seconds")
    for name, packages in kernels.items():
        if not isinstance(packages, list) or not all(isinstance(one, str) and one for one in packages):
            raise ValueError(f"{VARIABLE}: the packages of {name} are a list of names")
    return Wanted({name: tuple(packages) for name, packages in kernels.items()}, float(seconds))


class WarmHandler(APIHandler):
    """Answers with the kernels' states. Asking is no activity."""

    auth_resource = "kernels"
    _track_activity = False

    @web.authenticated
    @authorized
    def get(self) -> None:
        """JSON: `{"kernels": [{"name", "state", "problem", "seconds"}]}`."""
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps({"kernels": self.kernel_manager.warm_states()}))


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tmpnb_warm"}]


def _load_jupyter_server_extension(server_app: ServerApp) -> None:
    kernels = server_app.kernel_manager
    if not isinstance(kernels, WarmKernels):  # the visitor's own configuration has another one
        return
    wanted = read(os.environ[VARIABLE])
    place = url_path_join(server_app.web_app.settings["base_url"], "api", "tmpnb", "warm")
    server_app.web_app.add_handlers(".*$", [(place, WarmHandler)])
    kernels.expect(wanted)
    IOLoop.current().add_callback(kernels.warm_up)  # as soon as the server answers
