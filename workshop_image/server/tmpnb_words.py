"""The mark on texts that a page translates (`labextension/static/words.js`): `python -m tests.words` finds them."""


def to_translate(text: str) -> str:
    """Mark a text. The server itself speaks English: JupyterLab's language is its page's."""
    return text
