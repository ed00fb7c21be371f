"""What orchestrator and relays say to each other, and how. Used at both ends, and by front ends up to `lines`.

From below: `tls` says who is who, `door` accepts connections and `dial` makes them, `lines` reads and writes
messages, `wire` is which messages there are. A connection for streams has `frames` instead: `streams` carries all of
one node's notebooks on it, each as a `stream`.
"""
