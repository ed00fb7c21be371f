"""An image's static files, served once for all of its notebooks (decision 10)."""
