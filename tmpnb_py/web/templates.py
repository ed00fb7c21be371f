"""Pages' templates, once for each language.

A text without values is put in when a template is compiled, escaped: a page in German costs what it costs in English.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jinja2
import markupsafe
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from tmpnb_py.web import assets
from tmpnb_py.words.tags import SOURCE, tags
from tmpnb_py.words.words import Around, Words, filled_markup, words


class _Templates(jinja2.Environment):
    """The templates of `frontend/`, in which `_`, `ngettext` and `pgettext` are those of one language."""

    def __init__(self, texts: Words) -> None:
        super().__init__(
            loader=jinja2.DictLoader(assets.sources()),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
        )
        self._texts = texts
        self._constants = _Constants(texts)
        self.globals |= {
            "_": lambda text, **values: filled_markup(texts.gettext(text), values),
            "ngettext": functools.lru_cache(256)(self._counted),  # the same few on each page, as "about 20 minutes"
            "pgettext": lambda context, text, **values: filled_markup(texts.pgettext(context, text), values),
            "around": around,
            "code": lambda text: markupsafe.Markup("<code>{}</code>").format(text),
            "words": texts,
            "script": "",
        }

    def _counted(self, one: str, several: str, count: int) -> markupsafe.Markup:
        """A text with a number and no other value."""
        return filled_markup(self._texts.ngettext(one, several, count), {})

    def _generate(self, source: nodes.Template, *args: Any, **options: Any) -> str:
        """Jinja's hook before a template's tree becomes code."""
        return super()._generate(self._constants.visit(source), *args, **options)


class _Constants(NodeTransformer):
    """Replaces each call for a text without values by the text."""

    def __init__(self, texts: Words) -> None:
        self._texts: Mapping[str, Any] = {"_": texts.gettext, "pgettext": texts.pgettext}

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802  (jinja's name for it)
        """A text, or the call as it is."""
        self.generic_visit(node)
        ask = self._texts.get(node.node.name) if isinstance(node.node, nodes.Name) else None
        texts = [one.value for one in node.args if isinstance(one, nodes.Const)]
        if ask is None or node.kwargs or len(texts) != len(node.args):
            return node
        return nodes.Const(ask(*texts), lineno=node.lineno)


def around(name: str, **attributes: object) -> Around:
    """An element round some words of a text, with its attributes."""
    made = markupsafe.Markup("").join(
        markupsafe.Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
    )
    return Around(markupsafe.Markup("<{}{}>").format(name, made), markupsafe.Markup("</{}>").format(name))


@functools.cache
def templates(tag: str = SOURCE) -> jinja2.Environment:
    """All templates in a language that there is."""
    return _Templates(words(tag))


# At the start, as `assets.sources`: what is installed while the service runs is another version's.
for _tag in tags():
    templates(_tag)
