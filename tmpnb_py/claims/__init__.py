"""Claims: how a visitor gets a notebook, now or after a wait in line. One `Claims` per pool.

Others use `Claims` and read its `Ticket`s; the rest is its inside. `admission` checks who may ask, `line` is the
order, `dispatcher` gives ready containers to tickets, in the order of `choice`, which leaves a class what `reserve`
holds for it; `handover` makes a claim durable, which is final, `registry` keeps the tickets, and `line_store` with
`recovery` takes them over a restart.
"""
