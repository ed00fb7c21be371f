"""Let plotly's extension of JupyterLab begin with entry.js, which loads plotly.js once there is a plot.

Run while an image is built: `install.py LABEXTENSIONS`. Fails where plotly's package is not as expected.
"""

import json
import shutil
import sys
from pathlib import Path


def main() -> None:
    """Put the entry into plotly's package, and keep its own as own.js."""
    package = Path(sys.argv[1]) / "jupyterlab-plotly"
    described = package / "package.json"
    content = json.loads(described.read_text())
    build = content["jupyterlab"]["_build"]
    if set(build) - {"load", "mimeExtension", "style"} or build["mimeExtension"] != "./mimeExtension":
        sys.exit(f"plotly's extension has changed: let entry.js do what it declares: {build}")
    (package / build["load"]).rename(package / "static/own.js")
    shutil.copy(Path(__file__).with_name("entry.js"), package / "static/entry.js")
    build["load"] = "static/entry.js"
    described.write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
