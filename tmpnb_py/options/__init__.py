"""Every option: how it is declared, read from its sources, checked, and changed in a running service."""
