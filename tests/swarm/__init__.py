"""A Docker Swarm of three nodes on this machine, and what is tested on it."""
