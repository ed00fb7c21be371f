"""The operator's listener: its live page and its API for the pool and sessions."""
