"""The orchestrator's own pages and API, behind the proxy; no handler here calls an engine."""
