"""How the pool's image gets to the nodes. Runs in the orchestrator.

`swarm_images` is the engine's part: what the manager has built is sent (`push`); what a registry has is fixed by its
digest (`pins`), and nodes pull it (`pulls`). `holders` knows which nodes have it.
"""
