"""A pool of containers as a unit. Others use `Pool` (and read `Container` and `PoolStatus`); the rest is its inside.

`records` hold what there is; the `reconciler` makes it what `planner` says, with `starts`, `removals` and `adoption`;
the `reaper` ends sessions as `idle` says, by the `activity` that the proxy sees; `health` knows what is wrong,
`operations` are the operator's actions; `journal` logs transitions and `metrics` counts them.
"""
