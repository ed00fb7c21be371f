"""tmpnb-py: temporary Jupyter notebooks for everyone who clicks a link.

One program: a pool of started notebook containers, a reverse proxy that leads visitors to them, and a reaper.
"""

__version__ = "0.1.0"
