"""Makes `jupyter nbconvert` in a terminal find the same exporters as the server."""

import sys
from pathlib import Path

# First, as nbconvert takes the first exporter that it finds by a name (tmpnb_pdf_exporter).
sys.path[:0] = ["/opt/jupyter/share/tmpnb", str(Path(__file__).resolve().parents[1] / "server")]
