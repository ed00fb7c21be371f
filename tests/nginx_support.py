"""A real nginx for a test; skipped (in CI: failed) where it is not installed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.front_support import program

_MAIN = """\
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log crit;
{main}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{http}
}}
"""


def nginx(
    directory: Path, http: str, *, place: Path | int, main: str = ""
) -> contextlib.AbstractAsyncContextManager[None]:
    """nginx with everything of it in `directory`, once it listens at `place` (a path, or a port).

    `http` is what its configuration has in the block of that name, `main` outside of all blocks.
    """
    configuration = directory / "nginx.conf"
    configuration.write_text(_MAIN.format(directory=directory, main=main, http=http))
    return program("nginx", "-c", str(configuration), "-p", str(directory), place=place)
