"""An image's static files, served once for all of its notebooks (decision 10).

The pool's configuration asks `SharedFiles` for their URL, and `web/static.py` serves them.
"""
