"""The server name in the beginning of TLS (SNI, RFC 6066 §3), read by OpenSSL and not by a parser of our own.

A list of hosts is about names. A tunnel was opened for one, and its address is of that name; but many sites share an
address (in a content network), and there the SNI chooses. So where a list is in force the two have to agree.
"""

from __future__ import annotations

import ssl

_LONGEST = 1 << 16  # bytes of a ClientHello; post-quantum key shares made them some kilobytes


class NotTlsError(Exception):
    """It is not the beginning of TLS, or a longer one than anybody sends."""


def server_name(data: bytes) -> str | None:
    """The name that a ClientHello asks for, in lower case, "" for none; None while its end is missing.

    Raises `NotTlsError`.
    """
    found: list[str | None] = []

    def named(_tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int:
        found.append(name)
        return ssl.ALERT_DESCRIPTION_USER_CANCELLED  # nothing is to be answered: the server at the other end does

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = named
    incoming = ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(data)
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError as error:
        if len(data) > _LONGEST:
            raise NotTlsError from error
        return None
    except ssl.SSLError as error:
        if not found:
            raise NotTlsError from error
    return (found[0] or "").lower() if found else ""
