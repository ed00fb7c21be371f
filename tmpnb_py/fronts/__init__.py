"""Several front ends: proxies that learn from the orchestrator where notebooks are, and go on while it is away."""
