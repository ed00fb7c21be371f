"""Workshops: the manifest, authors' folders, and notebooks as pages of notes. For the pages and the commands."""
