"""Everything about talking to a notebook server: dialling it, asking it, and using it as a browser would."""
