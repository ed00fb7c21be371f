"""Replaces embedded content, which pages of notes do not load, by descriptive links; sizes by attributes. Pure.

It runs before sanitising, so it makes no security decisions: a tag that it misreads is dropped later, as it would
have been anyway. No pattern scans unmatched text twice, so time is linear in the source's length.
"""

from __future__ import annotations

import html
import re
import urllib.parse

from tmpnb_py.workshops.notes import labels

_TAG = re.compile(
    r"<(iframe|video|audio|embed|object|img|input|a)\b((?:[^<>\"']|\"[^\"]*\"|'[^']*')*+)>", re.IGNORECASE
)
_ATTRIBUTE = re.compile(r"(?<![a-zA-Z-])([a-zA-Z-]++)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_CLOSING = re.compile(r"</(?:iframe|video|audio|object)\s*>|<source\b[^<>]*>", re.IGNORECASE)
_SIZE = re.compile(r"(?:^|;)\s*(width|height)\s*:\s*([0-9]{1,4}(?:px|%)?)\s*(?=;|$)", re.IGNORECASE)
_WORDS = {"iframe": labels.PAGE, "video": labels.VIDEO, "audio": labels.RECORDING}


def instead(source: str) -> str:
    """Replace fetched and played content with links, and check boxes with characters."""
    return _CLOSING.sub("", _TAG.sub(_replaced, source)) if "<" in source else source


def _replaced(found: re.Match[str]) -> str:
    tag = found[1].lower()
    given = {one[1].lower(): html.unescape(one[2] or one[3] or one[4] or "") for one in _ATTRIBUTE.finditer(found[2])}
    if tag == "input":
        is_box = given.get("type", "").lower() == "checkbox"
        return ("\N{BALLOT BOX WITH CHECK}" if "checked" in found[2] else "\N{BALLOT BOX}") if is_box else ""
    if tag == "a":  # an anchor with the attribute from before HTML 5
        named = given.get("name") if "id" not in given else None
        return f'<a id="{html.escape(named)}"{found[2]}>' if named else found[0]
    if tag == "img":
        return _image(found, given)
    address = given.get("src") or given.get("data") or ""
    return _link(labels.label(_WORDS.get(tag, labels.FILE)), address, given.get("title", "")) if address else ""


def _image(found: re.Match[str], given: dict[str, str]) -> str:
    if re.match(r"(?:https?:)?//", given.get("src", ""), re.IGNORECASE):
        return _link(labels.label(labels.PICTURE), given["src"], given.get("alt", ""))
    sizes = {name.lower(): size for name, size in _SIZE.findall(given.get("style", "")) if name.lower() not in given}
    return f"<img{''.join(f' {name}={chr(34)}{size}{chr(34)}' for name, size in sizes.items())}{found[2]}>"


def _link(what: str, address: str, words: str) -> str:
    if address.startswith("//"):
        address = f"https:{address}"
    where = (_host(_watched(address)) or address.rpartition("/")[2])[:100]
    text = f"{what}: {words} ({where})" if words.strip() else f"{what} ({where})"
    return f'<a href="{html.escape(_watched(address))}">{html.escape(text)}</a>'


def _host(address: str) -> str:
    try:
        return urllib.parse.urlsplit(address).hostname or ""
    except ValueError:  # an invalid host
        return ""


def _watched(address: str) -> str:
    """The page of a video, for the address of YouTube's player."""
    found = re.match(r"https?://(?:www\.)?youtube(?:-nocookie)?\.com/embed/([\w-]{1,40})", address)
    return f"https://www.youtube.com/watch?v={found[1]}" if found else address
