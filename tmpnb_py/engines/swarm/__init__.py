"""Docker Swarm: one service per notebook, on many machines; a relay on each node does what services cannot say.

What runs where: this folder's own files and `images/` in the orchestrator, `relay/` on each node (`tmpnb-py relay`).
Both ends use `link/`, which connects them, `parcels/`, `api` (a Docker engine's API) and `naming`.

A start: `engine` creates a service (`services`) and waits for its task; the relay of the task's node takes the
container off its network ("take") and, once the server listens, seals its socket's directory and sees that nothing
is missing ("ready"). It does so with the node's own engine (`relay/node`). `images/` has seen to it before that the
node has the image, `looks` that it keeps notebooks apart.

A request: the proxy dials an address of `engine`; `relays` knows the connection to that node's relay, on which
`link/streams` opens a stream; there `relay/server` has `relay/through` put it through to the notebook's socket.
"""
