"""Languages that people speak: a text's tag (BCP 47) and the direction in which it is written. Pure.

Manifests and notebooks name a language so that screen readers speak it, and Arabic and Hebrew run right to left.
"""

from __future__ import annotations

import re
import unicodedata

# RFC 5646, section 2.1, without what nobody writes for a page: grandfathered tags, and extensions longer than a line.
_TAG = re.compile(
    r"(?P<language>[a-z]{2,3}(?:-[a-z]{3}){0,3})(?:-(?P<script>[a-z]{4}))?(?:-(?:[a-z]{2}|[0-9]{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3})){0,4}(?:-[a-wyz0-9](?:-[a-z0-9]{2,8}){1,4}){0,2}(?:-x(?:-[a-z0-9]{1,8}){1,4})?",
    re.IGNORECASE,
)
MAX_LENGTH = 35  # RFC 5646, section 4.4.1

# Unicode's scripts in use that run right to left, and the languages that are written in one of them where nobody says
# otherwise (CLDR, "likely subtags").
_RTL_SCRIPTS = re.compile("adlm|arab|aran|hebr|mand|nkoo|rohg|samr|syrc|thaa|yezi", re.IGNORECASE)
_RTL_LANGUAGES = re.compile(
    "ar|ara|arc|arq|ars|ary|arz|azb|bal|bqi|ckb|div|dv|fa|fas|glk|hbo|he|heb|hnd|iw|ji|kas|khw|ks|lrc|luz|mzn|nqo|pbu|"
    "pes|pnb|prs|ps|pus|sd|sdh|skr|snd|syc|syr|ug|uig|ur|urd|yi|yid",
    re.IGNORECASE,
)


def is_tag(text: str) -> bool:
    """Whether this is a well-formed language tag, such as "de", "pt-BR" or "zh-Hans"."""
    return len(text) <= MAX_LENGTH and _TAG.fullmatch(text) is not None


def direction(tag: str) -> str:
    """The value of `dir`: "rtl" or "ltr" as the language's script runs, "" where no language is named."""
    found = _TAG.fullmatch(tag)
    if found is None:
        return ""
    language = found["language"].partition("-")[0]
    runs_back = _RTL_SCRIPTS.fullmatch(found["script"]) if found["script"] else _RTL_LANGUAGES.fullmatch(language)
    return "rtl" if runs_back else "ltr"


def has_rtl(text: str) -> bool:
    """Whether there is a letter of such a script in it (Unicode, "Bidi_Class")."""
    return not text.isascii() and any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text)
