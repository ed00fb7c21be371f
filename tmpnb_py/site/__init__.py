"""The site: all pools of one service with their claims. The proxy and the web layer ask it for pools and sessions.

`site` finds sessions and tickets in all pools; `offers` chooses the pool that serves a link; `shares` gives each pool
its part of the room, as the pure `division` divides it; `metrics` renders what all pools count.
"""
