"""Deadlines count work, so that a busy machine changes no verdict; the prover's own process keeps to the wall as well."""

import time

import pytest

from lossproof.prove.clock import Clock, OutOfTime


def work(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_waiting_costs_nothing():
    clock = Clock(0.2)
    time.sleep(0.4)
    clock.check()
    assert clock.left() > 0.1
    work(0.25)
    with pytest.raises(OutOfTime, match="out of time"):
        clock.check()


def test_a_time_on_the_wall_ends_it_too_and_its_parts():
    clock = Clock(60, until=time.monotonic() + 0.1)
    part = clock.part(0.5)
    clock.check()
    time.sleep(0.15)
    for late in (clock, part, clock.within(5)):
        assert late.left() < 0
        with pytest.raises(OutOfTime):
            late.check()


def test_within_is_never_longer_than_what_is_left():
    assert Clock(1).within(60).left() <= 1
    assert Clock(60).within(1).left() <= 1
    Clock.for_ever().within(float("inf")).check()
