"""Pools: threads for the product, none where everything must happen in order."""

from __future__ import annotations

import threading

import pytest

from chromaseal import pools


def test_a_pool_has_threads() -> None:
    """What waits for a store waits beside what else is to be done."""
    with pools.pool(2) as pool:
        (other,) = pool.map(lambda _: threading.get_ident(), [1])
    assert other != threading.get_ident()


def test_in_turn_work_is_done_where_it_is_handed_over() -> None:
    """In the block nothing happens in another thread, and everything in order; then as before."""
    done: list[int] = []
    with pools.in_turn(), pools.pool(8) as pool:
        waiting = [pool.submit(done.append, number) for number in range(3)]
        assert done == [0, 1, 2]
        assert [each.result() for each in waiting] == [None] * 3
        assert list(pool.map(lambda _: threading.get_ident(), [1])) == [threading.get_ident()]
    test_a_pool_has_threads()


def test_in_turn_an_error_is_told_to_whoever_asks() -> None:
    """As with threads, one piece that fails stops no other."""
    with pools.in_turn(), pools.pool(8) as pool:
        failing = pool.submit(int, "no number")
        assert pool.submit(int, "1").result() == 1
        with pytest.raises(ValueError, match="no number"):
            failing.result()


def test_in_turn_one_of_many_fails_and_the_others_are_done() -> None:
    """As with threads, what comes of each is given in order, and an error in its place."""
    done: list[str] = []

    def work(text: str) -> int:
        done.append(text)
        return int(text)

    with pools.in_turn(), pools.pool(8) as pool:
        given = pool.map(work, ["1", "no number", "3"])
        assert done == ["1", "no number", "3"]
        assert next(given) == 1
        with pytest.raises(ValueError, match="no number"):
            next(given)


def test_in_turn_a_death_is_nobody_elses_error() -> None:
    """What is no ``Exception`` ends whoever hands the work over, at once."""

    def die() -> None:
        raise KeyboardInterrupt

    with pools.in_turn(), pools.pool(8) as pool, pytest.raises(KeyboardInterrupt):
        pool.submit(die)


def test_work_of_a_stopped_thread_is_given_up() -> None:
    """Ctrl-C is heard by who waits; what is under way learns of it, in pools of pools too."""
    begun, never = threading.Event(), threading.Event()
    given_up: list[bool] = []

    def innermost() -> None:
        begun.set()
        looks = (pools.is_given_up() or never.wait(0.01) for _ in range(1_000))
        given_up.append(any(looks))

    def work() -> None:
        with pools.pool(1) as inner:
            inner.submit(innermost).result()

    def stop() -> None:
        with pools.pool(1) as pool:
            for _ in range(3):
                pool.submit(work)
            assert begun.wait(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert given_up == [True]
    assert not pools.is_given_up()


def test_an_error_gives_nothing_up() -> None:
    """What one of them cannot do, the others can."""
    done: list[bool] = []

    def fail() -> None:
        with pools.pool(1) as pool:
            for _ in range(3):
                pool.submit(lambda: done.append(pools.is_given_up()))
            raise ValueError("no number")

    with pytest.raises(ValueError, match="no number"):
        fail()
    assert done == [False] * 3


def test_what_is_done_beside_a_block_has_ended_with_it() -> None:
    """Whoever goes on after the block has what came of it, and no thread at work."""
    with pools.beside(pools.is_given_up) as doing:
        pass
    assert doing.done()
    assert doing.result() is False


def test_what_is_done_beside_a_block_that_fails_is_given_up() -> None:
    """Nobody waits until it has come to its end."""
    begun, never = threading.Event(), threading.Event()
    given_up: list[bool] = []

    def work() -> None:
        begun.set()
        given_up.append(any(pools.is_given_up() or never.wait(0.01) for _ in range(1_000)))

    def fail() -> None:
        with pools.beside(work):
            assert begun.wait(10)
            raise ValueError("no number")

    with pytest.raises(ValueError, match="no number"):
        fail()
    assert given_up == [True]
    assert not pools.is_given_up()


def test_in_turn_what_is_done_beside_a_block_is_done_before_it() -> None:
    """A simulation replays exactly, whether or not the block fails."""
    done: list[str] = []

    def fail() -> None:
        with pools.beside(lambda: done.append("beside")):
            done.append("block")
            raise ValueError("no number")

    with pools.in_turn(), pytest.raises(ValueError, match="no number"):
        fail()
    assert done == ["beside", "block"]
