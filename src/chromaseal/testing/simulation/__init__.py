"""A deterministic simulation of everybody at once, over stores and ledgers that fail.

``episode.simulate(seed, steps)`` plays one seed; ``campaign`` plays many. Needs ``greenlet``, which
is not among chromaseal's own dependencies.
"""
