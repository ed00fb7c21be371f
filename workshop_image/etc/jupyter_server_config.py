"""The configuration of a visitor's notebook server. tmpnb-py's command line adds address, base URL and token."""

import importlib.util
import logging
import os
import sys
from pathlib import Path

from jupyter_core.paths import jupyter_path

c = get_config()  # noqa: F821 (the loader defines it)

c.Application.log_level = "WARN"
# Without this, messages that are not logged are made all the same, some ten for a request.
c.Application.logging_config = {
    "loggers": {name: {"level": "WARN", "handlers": ["console"]} for name in ("LabApp", "ServerApp")}
}
c.ServerApp.root_dir = str(Path.home() / "work")
c.ServerApp.open_browser = False
c.ServerApp.port_retries = 0  # nobody would find another port
c.ServerApp.quit_button = False  # the orchestrator ends sessions
c.ServerApp.shutdown_no_activity_timeout = 0
c.ServerApp.terminals_enabled = True

# Only the orchestrator's proxy connects; it sends the visitor's host and scheme in headers.
c.ServerApp.trust_xheaders = True
c.ServerApp.allow_remote_access = True
# The socket's directory keeps others out: its parent is 0700, and it is sealed once the server answers.
c.ServerApp.sock_mode = "0666"
c.KernelManager.transport = "ipc"  # no TCP ports for kernels' messages, whatever the network

# The disabled ones cost time and memory at every start, and no workshop uses them. Ours download and restore files,
# speed up opening notebooks, start their kernels early, set kernels' working directory, and support the classic
# interface's URLs; they are on this server's own path, not on that of kernels.
c.ServerApp.jpserver_extensions = {
    "jupyter_lsp": False,
    "jupyterlab_jupytext": importlib.util.find_spec("jupyterlab_jupytext") is not None,  # the image removes it
    "notebook_shim": False,
    "tmpnb_archive": True,
    "tmpnb_early": True,
    "tmpnb_exporters": True,
    "tmpnb_folder": True,
    "tmpnb_limits": True,
    "tmpnb_tree": True,
    "tmpnb_warm": bool(os.environ.get("TMPNB_WARM_KERNELS")),
}
# Their directory in the image, and beside this file's directory for the local engine. They come first:
# nbconvert uses the first exporter of a name (tmpnb_pdf_exporter).
sys.path[:0] = ["/opt/jupyter/share/tmpnb", str(Path(__file__).resolve().parents[1] / "server")]

# Kernels that are started before a visitor asks for one (tmpnb_warm).
if os.environ.get("TMPNB_WARM_KERNELS"):
    c.ServerApp.kernel_manager_class = "tmpnb_warm_kernels.WarmKernels"
    c.MultiKernelManager.kernel_manager_class = "tmpnb_warm_kernel.WarmKernel"
    c.ServerApp.kernel_websocket_connection_class = "tmpnb_warm_kernel.WarmConnection"

# The first Python kernel may have begun together with this server (tmpnb_start).
if "tmpnb_start" in sys.modules:
    c.KernelProvisionerFactory.default_provisioner_name = "tmpnb-first-kernel"

# R Markdown, Quarto and jupytext's other formats open as notebooks.
if importlib.util.find_spec("jupytext"):
    c.ServerApp.contents_manager_class = "tmpnb_texts.TextNotebooks"

# Files that are the same for every visitor come from a shared URL, so that browsers cache them across notebooks
# (docs/image.md). Their paths there are the same as below the base URL here.
shared_files = os.environ.get("TMPNB_STATIC_URL", "")


def lab_extensions():
    """JupyterLab's extensions with their installation times; None if unreadable."""
    places = [Path(place, "labextensions") for place in jupyter_path()]
    try:
        packages = [package for place in places for package in (*place.glob("*"), *place.glob("@*/*"))]
        return {package: package.lstat().st_mtime_ns for package in packages}
    except OSError:
        return None


def share_static_files(handler, page_config):
    """Make a page load its scripts from the shared URL, if they are below this server's base URL.

    The shared files are the image's: once the visitor has installed an extension, all extensions come from here.
    Under a host of its own, a page gets them from the host that the proxy names: so browsers have them for all.
    """
    host = handler.request.headers.get("X-Tmpnb-Static-Host", "")
    shared = f"{handler.request.protocol}://{host}{shared_files}" if host else shared_files
    is_as_started = extensions_at_start is not None and lab_extensions() == extensions_at_start
    for option in ("fullStaticUrl", "fullLabextensionsUrl") if is_as_started else ("fullStaticUrl",):
        url = page_config.get(option, "")
        if url.startswith(handler.base_url):
            page_config[option] = f"{shared}/{url.removeprefix(handler.base_url)}"
    themes = page_config.get("themesUrl", "") if is_as_started else ""
    if themes.startswith("/") and not themes.startswith(shared_files):  # JupyterLab appends this one to the base URL
        up = "../" * handler.base_url.count("/", 1)
        page_config["themesUrl"] = f"{up}{shared_files[1:]}{themes}"
    return page_config


tornado_settings = {"page_config_data": {"tmpnbEgress": os.environ.get("TMPNB_EGRESS", "")}}
if shared_files:
    extensions_at_start = lab_extensions()
    tornado_settings["page_config_hook"] = share_static_files
c.ServerApp.tornado_settings = tornado_settings

# Tornado warns at each WebSocket that Jupyter waits 90 s for the answer to its pings, sent every 30 s. That is
# intended: Jupyter checks when it sends the next ping, so with a limit of 30 s a busy machine would lose connections.
logging.getLogger("tornado.general").setLevel(logging.ERROR)

c.FileContentsManager.delete_to_trash = False  # the home's size is bounded, so deleting must free space
c.NotebookNotary.db_file = ":memory:"
