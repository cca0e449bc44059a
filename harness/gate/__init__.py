"""The performance gate: exact figures against a committed baseline, times against a base commit that runs in turns with head.

`plugin` gives pytest its fixtures, `figures` counts, `baseline` keeps, `exact` compares; `turns` is the timed process, `timed`
its master, `sequential` the test that decides; `command` is ``adaptbench gate``, `history` its store.
"""
