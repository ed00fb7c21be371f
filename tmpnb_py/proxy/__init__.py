"""The data plane: every byte between a visitor and a notebook passes here.

A request travels `client.ClientConnection` (read by `request_reader`) -> `server.Proxy.exchange`, which routes it ->
`upstream.UpstreamConnection`, and its answer (read by `answer_reader`) back, all in the event loop's callbacks: no
task, no future and no copy of a body on the usual path. `tunnel` takes over after a WebSocket upgrade.
"""
