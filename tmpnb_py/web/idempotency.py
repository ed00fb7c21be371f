"""Names for wishes: a wish for a notebook that is sent twice under one name is one wish, and gets one notebook.

Our forms bring a name that was issued here, so that a button pressed twice, or a page loaded again, is one wish.
Scripts bring 128 random bits of their own. A name is as good as the ticket, so nobody may guess another's.
"""

from __future__ import annotations

import re
import secrets

from tmpnb_py.core.proofs import Purpose, is_proof, proof
from tmpnb_py.web.context import Context

_OWN_NAME = re.compile(r"[0-9a-f]{32}")


def issue(context: Context) -> str:
    """A name for a form that is about to be shown."""
    name = secrets.token_hex(16)
    return f"{name}{proof(context.secret, Purpose.TICKET, name)}"


def accepted(context: Context, once: str) -> str:
    """The name, if it was issued here, or is 128 bits of a script's own; else "".

    Scripts are the same for everybody, and also in pages of other sites: they can bring no name from here.
    """
    if _OWN_NAME.fullmatch(once):
        return once
    name, seal = once[:32], once[32:]
    return name if is_proof(seal, context.secret, Purpose.TICKET, name) else ""
