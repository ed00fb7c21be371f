"""The data plane: every byte between a visitor and a notebook passes here.

A request travels `client.ClientConnection` -> `server.Proxy.route` -> `exchange.Exchange` ->
`upstream.UpstreamConnection`, and its answer the same way back, all in the event loop's callbacks: no task, no
future and no copy of a body on the usual path. `tunnel` takes over after a WebSocket upgrade.
"""
