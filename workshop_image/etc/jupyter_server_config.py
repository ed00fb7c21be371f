"""The notebook server of one visitor. The command line that tmpnb-py gives adds address, base URL and token."""

import importlib.util
import logging
import os
import sys
from pathlib import Path

from jupyter_core.paths import jupyter_path

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

# Each that is off costs time and memory at every start, and no workshop uses it. Ours give visitors all their files,
# let notebooks open sooner, let kernels begin in a workshop's folder, and know the classic interface's addresses;
# they are on this server's own path, not on that of kernels.
c.ServerApp.jpserver_extensions = {
    "jupyter_lsp": False,
    "jupyterlab_jupytext": importlib.util.find_spec("jupyterlab_jupytext") is not None,  # the image removes it
    "notebook_shim": False,
    "tmpnb_archive": True,
    "tmpnb_exporters": True,
    "tmpnb_folder": True,
    "tmpnb_limits": True,
    "tmpnb_tree": True,
}
# Where the image has them, and where they lie beside this file's directory, as for the local engine. They come first:
# nbconvert takes the first exporter that it finds by a name (tmpnb_pdf_exporter).
sys.path[:0] = ["/opt/jupyter/share/tmpnb", str(Path(__file__).resolve().parents[1] / "server")]

# R Markdown, Quarto and jupytext's other formats open as notebooks.
if importlib.util.find_spec("jupytext"):
    c.ServerApp.contents_manager_class = "tmpnb_texts.TextNotebooks"

# The files that are the same for every visitor come from where all notebooks share them, so that a browser that has
# seen one notebook has them (docs/image.md). Their paths there are those below the base URL here.
shared_files = os.environ.get("TMPNB_STATIC_URL", "")


def lab_extensions():
    """JupyterLab's extensions, and when they were installed; None where that cannot be seen."""
    places = [Path(place, "labextensions") for place in jupyter_path()]
    try:
        packages = [package for place in places for package in (*place.glob("*"), *place.glob("@*/*"))]
        return {package: package.lstat().st_mtime_ns for package in packages}
    except OSError:
        return None


def share_static_files(handler, page_config):
    """Let a page's scripts load theirs from the shared place, but for what is not below this server's base URL.

    The shared place has what the image has: where the visitor has installed an extension, all of them come from here.
    """
    is_as_started = extensions_at_start is not None and lab_extensions() == extensions_at_start
    for option in ("fullStaticUrl", "fullLabextensionsUrl") if is_as_started else ("fullStaticUrl",):
        url = page_config.get(option, "")
        if url.startswith(handler.base_url):
            page_config[option] = f"{shared_files}/{url.removeprefix(handler.base_url)}"
    themes = page_config.get("themesUrl", "") if is_as_started else ""
    if themes.startswith("/") and not themes.startswith(shared_files):  # this one is joined to the base URL
        up = "../" * handler.base_url.count("/", 1)
        page_config["themesUrl"] = f"{up}{shared_files[1:]}{themes}"
    return page_config


tornado_settings = {"page_config_data": {"tmpnbEgress": os.environ.get("TMPNB_EGRESS", "")}}
if shared_files:
    extensions_at_start = lab_extensions()
    tornado_settings["page_config_hook"] = share_static_files
c.ServerApp.tornado_settings = tornado_settings

# Tornado warns at each WebSocket that Jupyter waits 90 s for an answer to its pings, which go out every 30 s.
# It has to: Jupyter looks when it sends the next ping, so with a limit of 30 s a busy machine loses the connection.
logging.getLogger("tornado.general").setLevel(logging.ERROR)

c.FileContentsManager.delete_to_trash = False  # the home's size is bounded; deleting has to free it
c.NotebookNotary.db_file = ":memory:"
