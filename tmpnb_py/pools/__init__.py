"""A pool of containers as a unit. Others use `Pool` (and read `Container` and `PoolStatus`); the rest is its inside.

`records` hold what there is; the `reconciler` makes it what `planner` says, with `starts`, `removals` and `adoption`;
`sizing` says how many are to be ready: it asks `timetable`, `auto` (by the `arrivals`) and the bookings' reserve, and
`ready_target` combines them. The `reaper` ends sessions as `idle` says, by the `activity` that the proxy sees, and
`busiest` names those that keep the processor busy, as `busy` says. `health` knows what is wrong, `operations` are the
operator's actions; `journal` logs transitions and `metrics` counts them. `need` is what the site divides its room by.
"""
