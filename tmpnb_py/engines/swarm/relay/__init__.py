"""The relay: what runs on each node, beside the node's engine. The orchestrator imports nothing of it.

`server` answers questions and puts streams through to notebooks (`through`); `node` does by the node's engine what is
asked, with `images` (what is loaded) and `pulls` (what a registry has).
"""
