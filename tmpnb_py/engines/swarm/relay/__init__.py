"""The relay: what runs on each node, beside the node's engine. The orchestrator imports nothing of it."""
