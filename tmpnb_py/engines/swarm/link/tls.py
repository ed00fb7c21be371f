"""TLS between holders of one secret: orchestrator and relays, and orchestrator and front ends.

The secret is a file with a private key and a certificate that this very key has signed. Each side proves that it has
the key (TLS 1.3 makes both sign the handshake) and takes from the other the same certificate, byte for byte, and no
other. Without the key nobody can do so, in whichever role and however many handshakes were overheard; each handshake
signs fresh randomness, tickets and early data are off, so nothing can be replayed; versions below 1.3 and peers that
do not speak the wanted protocol's version (ALPN) are refused, so there is nothing to fall back to.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from pathlib import Path

from tmpnb_py.core.errors import SettingsError

HANDSHAKE_SECONDS = 10.0
_RELAYS = "tmpnb-relay/2"  # what orchestrator and relays speak


class Contexts:
    """Both sides' TLS, made from the secret."""

    def __init__(self, secret: Path, *protocols: str) -> None:
        """`protocols` are what both sides may speak, by the names that ALPN has for them, the best one first;
        without any it is what orchestrator and relays speak.

        Raises `SettingsError` where the secret cannot be used.
        """
        self._secret = secret
        self._protocols = protocols or (_RELAYS,)
        self._certificate, self.server, self.client = self._read()

    def renew(self) -> bool:
        """Read the secret again. Whoever comes, or is dialled, from now on has to hold the new one; connections stay.

        Returns whether it is another one. Raises `SettingsError` where it cannot be used; the old one counts then.
        """
        certificate, _, client = self._read()
        is_new = certificate != self._certificate
        if is_new:
            self._load(self.server)  # listeners have this very object
            self._certificate, self.client = certificate, client
        return is_new

    def _read(self) -> tuple[bytes, ssl.SSLContext, ssl.SSLContext]:
        secret = self._secret
        try:
            text = secret.read_text()
            certificate = ssl.PEM_cert_to_DER_cert(text[text.index(ssl.PEM_HEADER) :].strip())
            server, client = self._made(ssl.PROTOCOL_TLS_SERVER), self._made(ssl.PROTOCOL_TLS_CLIENT)
            server.num_tickets = 0
            return certificate, server, client
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SettingsError(
                f"the relays' secret {secret} cannot be used: {error}",
                remedy="it has to be a private key and a certificate of its own: see docs/swarm.md",
            ) from error

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._secret)
        context.load_verify_locations(self._secret)

    def _made(self, side: ssl._SSLMethod) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the certificate has no name: it is compared as a whole
        context.verify_mode = ssl.CERT_REQUIRED
        self._load(context)
        context.set_alpn_protocols(list(self._protocols))
        return context

    def is_ours(self, writer: asyncio.StreamWriter) -> bool:
        """Whether a finished handshake was with a holder of the secret that speaks one of these protocols."""
        tls = writer.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        if certificate is None or spoken(writer) not in self._protocols:
            return False
        return hmac.compare_digest(certificate, self._certificate)


def spoken(writer: asyncio.StreamWriter) -> str:
    """The protocol that both sides of a connection have agreed on, "" where there is none."""
    tls = writer.get_extra_info("ssl_object")
    return (tls.selected_alpn_protocol() or "") if tls is not None else ""
