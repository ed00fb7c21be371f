"""Sphinx's settings. They are read from here, the pages from where `staging` put them.

It is the theme of docs.jupyter.org, of JupyterLab's and, below colours of its own, of JupyterHub's documentation. It
brings its icons along, so that the site asks no other host for anything (`tests/integration/test_docs_site.py`).
"""

from __future__ import annotations

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

import tmpnb_py

project = "tmpnb-py"
author = "the tmpnb-py contributors"
project_copyright = author
version = release = tmpnb_py.__version__
language = "en"

extensions = ["myst_parser", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["files/**"]

myst_heading_anchors = 4  # the addresses that GitHub gives to headings
myst_enable_extensions = ["attrs_inline"]

lexers["haproxy"] = TextLexer()  # GitHub colours it, Pygments does not know it
copybutton_exclude = ".linenos, .gp, .go"

# For docs/build --links.
linkcheck_ignore = [r"https?://([\w.-]+\.)?example\.(org|net|com)", r"https?://(localhost|127\.0\.0\.1)"]
linkcheck_timeout = 10
linkcheck_rate_limit_timeout = 30

html_theme = "pydata_sphinx_theme"
html_title = f"tmpnb-py {version}"
html_favicon = "static/icon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_context = {"default_mode": "auto"}  # as the system is, until the reader chooses
html_theme_options = {
    "logo": {"text": "tmpnb-py"},
    "icon_links": [],
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    # Wide tables need the room more than a list of their headings.
    "secondary_sidebar_items": {"**": ["page-toc"], "compared": [], "metrics": [], "options": []},
    "use_edit_page_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_start": ["copyright"],
    "footer_end": [],
    "back_to_top_button": False,
}
