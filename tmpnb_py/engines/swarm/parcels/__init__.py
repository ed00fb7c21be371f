"""Images as they travel to nodes: which layers they have, and what a node gets to load. Pure; used at both ends."""
