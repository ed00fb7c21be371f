"""The notebook server of one visitor. The command line that tmpnb-py gives adds address, base URL and token."""

import logging
from pathlib import Path

c = get_config()  # noqa: F821 (the loader defines it)

c.Application.log_level = "WARN"
c.ServerApp.root_dir = str(Path.home() / "work")
c.ServerApp.open_browser = False
c.ServerApp.port_retries = 0  # another port than the one asked for would never be found
c.ServerApp.quit_button = False  # a session is ended by the orchestrator
c.ServerApp.shutdown_no_activity_timeout = 0
c.ServerApp.terminals_enabled = True

# The only way in is the orchestrator's proxy; it names the visitor's host and scheme in headers.
c.ServerApp.trust_xheaders = True
c.ServerApp.allow_remote_access = True
# The socket's directory is what keeps others out: its parent is 0700, and it is sealed once the server answers.
c.ServerApp.sock_mode = "0666"
c.KernelManager.transport = "ipc"  # a kernel's messages pass no TCP port, whatever the network

# Each of these costs time and memory at every start, and no workshop uses it.
c.ServerApp.jpserver_extensions = {"jupyter_lsp": False, "notebook_shim": False}

# Tornado warns at each WebSocket that Jupyter waits 90 s for an answer to its pings, which go out every 30 s.
# It has to: Jupyter looks when it sends the next ping, so with a limit of 30 s a busy machine loses the connection.
logging.getLogger("tornado.general").setLevel(logging.ERROR)

c.FileContentsManager.delete_to_trash = False  # the home's size is bounded; deleting has to free it
c.NotebookNotary.db_file = ":memory:"
