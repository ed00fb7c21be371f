"""How the pool's image gets to the nodes. Runs in the orchestrator."""
