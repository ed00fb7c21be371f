"""Everything about talking to a notebook server: dialling it, asking it, and using it as a browser would.

The pools ask their containers, the proxy dials them, and the image checks use them; nobody else builds their URLs.
"""
