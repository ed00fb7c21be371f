"""Pages for visitors: what they read, and their way to a notebook."""
