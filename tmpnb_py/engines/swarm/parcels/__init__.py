"""Images as they travel to nodes: which layers they have, and what a node gets to load. Pure; used at both ends.

`parcel` is what both ends agree on, `layers` and `manifests` are its two forms; `archive` reads what `docker save`
wrote.
"""
