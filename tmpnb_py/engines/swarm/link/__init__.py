"""What orchestrator and relays say to each other, and how. Used at both ends."""
