"""The notebooks' way to the web (`--egress web`): a forward proxy of the service.

A notebook has no network. It has a Unix socket of its own, in the directory that only it and this service see, and a
forwarder inside (`engines.docker.forward_inside`) lets ordinary clients use it as an HTTP proxy on the notebook's
loopback. Whose connection it is follows from the socket, so nothing that a notebook says decides it.

h11 reads and writes every head and body, aiodns asks for names without a thread, and OpenSSL reads the beginning of
TLS. What decides is pure: `policy`, `heads`, `allowance`.
"""
