"""The configuration of all Python kernels of an image."""

import os

c = get_config()  # noqa: F821 (the loader defines it)

if os.environ.get("TMPNB_EGRESS") == "none":
    c.InteractiveShellApp.extensions.append("tmpnb_network")
