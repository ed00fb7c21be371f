"""Docker Swarm: one service per notebook, on many machines; a relay on each node does what services cannot say."""
