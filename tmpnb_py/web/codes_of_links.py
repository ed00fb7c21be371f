"""A link as a picture that a phone's camera reads (QR code, ISO/IEC 18004), made by segno."""

from __future__ import annotations

import segno

# A quiet border of four modules is part of the standard; black on white is read in the dark, too.
_SCALE, _BORDER = 4, 4


def qr_code(url: str) -> str:
    """An SVG as a `data:` URL, which pages may show as a picture."""
    return segno.make(url, error="m", micro=False).svg_data_uri(scale=_SCALE, border=_BORDER, light="#fff")
