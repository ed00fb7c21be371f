"""What we know of a notebook server: how it is dialled, what it is asked, and how a browser would use it."""
