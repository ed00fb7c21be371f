"""Convert an HTML document to PDF, without TeX and without a browser.

    python tmpnb_pdf.py DOCUMENT.html DOCUMENT.pdf [DIRECTORY]

Notebooks (`tmpnb_pdf_exporter`) and R Markdown (`R/pdf_document.R`) run it as a program, so that its memory is freed
afterwards, and a document that is too large ends this program, not the notebook's server. WeasyPrint lays out the
pages. Formulas arrive in pandoc's form (`<span class="math inline">`), are converted to MathML (by pandoc, or else by
latex2mathml) and drawn by ziamath. A formula that none of them can read stays as its source.
Exit code 3: a package is missing.
"""

from __future__ import annotations

import base64
import html
import importlib.util
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

MISSING = 3
_STYLE = Path(__file__).with_suffix(".css")
_PANDOC_SECONDS = 60
_PICTURE_SECONDS = 5  # for each picture of another site
_FONT_SIZE = 17.0  # pixels of a formula beside text of 16, as its font is smaller; only the ratio counts
_TEXT_SIZE = 16.0
_FORMULA = re.compile(r'<span\s+class="math (inline|display)">\s*\\[(\[](.*?)\\[)\]]\s*</span>', re.DOTALL)
_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_MATHML = re.compile(r"<math\b.*?</math>", re.DOTALL)
_NUMBERING = re.compile(r"\\(?:label|tag\*?)\{[^{}]*\}|\\(?:nonumber|notag)\b")
_DEFINITION = re.compile(r"\\(?:re)?newcommand\*?\s*\{?\\\w+\}?(?:\[\d\])?\{(?:[^{}]|\{[^{}]*\})*\}")


def convert(source: Path, target: Path, directory: Path) -> None:
    """Write the PDF, with relative URLs resolved against `directory`. Raises ImportError."""
    import weasyprint  # noqa: PLC0415  (so that a missing package is told apart)

    logging.getLogger("weasyprint").setLevel(logging.CRITICAL)  # it would log each CSS rule without meaning on paper
    logging.getLogger("fontTools").setLevel(logging.CRITICAL)
    text = with_formulas(source.read_text(encoding="utf-8"))
    fetcher = weasyprint.urls.URLFetcher(timeout=_PICTURE_SECONDS)
    document = weasyprint.HTML(string=text, base_url=f"{directory.resolve().as_uri()}/", url_fetcher=fetcher)
    fonts = weasyprint.text.fonts.FontConfiguration()
    styles = [weasyprint.CSS(_STYLE), weasyprint.CSS(string=_font_of_code(), font_config=fonts)]
    document.write_pdf(target, stylesheets=styles, font_config=fonts, pdf_tags=True)


def _font_of_code() -> str:
    """The font that comes with matplotlib, if installed, as the system's are thin."""
    found = importlib.util.find_spec("matplotlib")
    places = found.submodule_search_locations if found else None
    file = Path(places[0], "mpl-data", "fonts", "ttf", "DejaVuSansMono.ttf") if places else None
    if file is None or not file.is_file():
        return ""
    return f'@font-face {{ font-family: "DejaVu Sans Mono"; src: url("{file.as_uri()}"); }}'


def with_formulas(text: str) -> str:
    """Replace each formula by a picture."""
    found = [(one[1] == "display", html.unescape(one[2]).strip()) for one in _FORMULA.finditer(text)]
    drawn = iter([_draw(tex, mathml, display) for (display, tex), mathml in zip(found, _mathml(found), strict=True)])
    return _FORMULA.sub(lambda _: next(drawn), text)


def _mathml(formulas: list[tuple[bool, str]]) -> list[str | None]:
    """Convert all formulas to MathML in one run of pandoc; None for each that it cannot read."""
    if not formulas or not shutil.which("pandoc"):
        return [None] * len(formulas)
    macros: list[str] = []
    for _, tex in formulas:
        macros += [one for one in _DEFINITION.findall(tex) if one not in macros]
    # One paragraph each; a formula of several lines could end its paragraph.
    lines = [(f"$${body}$$" if shown else f"${body}$") for shown, body in ((s, _plain(t)) for s, t in formulas)]
    given = "\n\n".join(["\n".join(macros), *lines])
    command = ["pandoc", "--from", "markdown-auto_identifiers", "--to", "html", "--mathml", "--wrap", "none"]
    done = subprocess.run(  # noqa: S603 - our own command line
        command, input=given, capture_output=True, text=True, check=False, timeout=_PANDOC_SECONDS, encoding="utf-8"
    )
    paragraphs = _PARAGRAPH.findall(done.stdout)
    if done.returncode or len(paragraphs) != len(formulas):
        return [None] * len(formulas)
    return [match[0] if (match := _MATHML.search(one)) else None for one in paragraphs]


def _plain(tex: str) -> str:
    """The formula in one line, without labels and tags, which are not drawn."""
    uncommented = re.sub(r"(?<!\\)%.*", "", tex)
    return " ".join(_NUMBERING.sub("", uncommented).replace("{dcases}", "{cases}").split())


def _draw(tex: str, mathml: str | None, display: bool) -> str:
    """An `<img>` with the formula's source as alternative text; only the source if it cannot be drawn."""
    import ziamath  # noqa: PLC0415

    ziamath.config.svg2 = False  # WeasyPrint needs unique names in the document
    logging.getLogger().setLevel(logging.CRITICAL)  # ziamath would log annotations that it does not draw
    shown = "tmpnb-display" if display else "tmpnb-inline"
    try:
        if mathml is not None:
            formula = ziamath.Math(mathml, size=_FONT_SIZE)
        else:
            formula = ziamath.Latex(_plain(tex), size=_FONT_SIZE, inline=not display)
        picture = formula.svgxml()
        drawn = formula.svg()
        width, height = (float(picture.attrib[name]) / _TEXT_SIZE for name in ("width", "height"))
        depth = formula.getyofst() / _TEXT_SIZE
    except Exception:  # noqa: BLE001  (whatever it stumbles over, the document shall be made)
        return f'<code class="{shown}">{html.escape(tex)}</code>'
    data = base64.b64encode(drawn.encode()).decode()
    style = f"width: {width:.3f}em; height: {height:.3f}em" + ("" if display else f"; vertical-align: {depth:.3f}em")
    image = f'<img class="tmpnb-tex" alt="{html.escape(tex)}" src="data:image/svg+xml;base64,{data}" style="{style}">'
    return f'<span class="{shown}">{image}</span>'


def main() -> int:
    """Convert the document of the command line."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    directory = Path(sys.argv[3]) if len(sys.argv) > 3 else source.parent
    try:
        convert(source, target, directory)
    except (ImportError, OSError) as error:  # OSError: WeasyPrint finds no Pango
        if isinstance(error, OSError) and error.filename is not None:
            raise
        print(f"PDF needs WeasyPrint with Pango, and ziamath, which are not installed here: {error}", file=sys.stderr)
        return MISSING
    return 0


if __name__ == "__main__":
    sys.exit(main())
