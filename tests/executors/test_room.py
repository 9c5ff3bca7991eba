"""Runs of one device and of several in one pool: none starves, none crowds another out of its GPUs."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.executors.room import Room, Taken

GPUS = ["0", "1", "2", "3"]
Widths = st.lists(st.integers(1, 4), max_size=24)


@given(
    gpus=st.integers(1, 4),
    each=st.integers(1, 3),
    widths=Widths,
    order=st.lists(st.integers(0, 9), min_size=1),
)
def test_a_run_of_several_gpus_has_them_to_itself_and_none_is_overfull(
    gpus: int, each: int, widths: list[int], order: list[int]
) -> None:
    room, running, waiting, ended = Room(GPUS[:gpus], each), list[Taken](), list(widths), 0
    while waiting or running:
        while waiting and (found := room.find(waiting[0])):
            assert len(set(found.devices)) == min(waiting.pop(0), gpus)
            room.take(found)
            running.append(found)
        alone = [device for one in running if len(one.devices) > 1 for device in one.devices]
        shared = Counter(device for one in running if len(one.devices) == 1 for device in one.devices)
        assert len(set(alone)) == len(alone)
        assert not shared.keys() & set(alone)
        assert max(shared.values(), default=0) <= each
        assert running, "what waits starts when nothing runs"
        room.give_back(running.pop(order[ended % len(order)] % len(running)))
        ended += 1
    assert ended == len(widths)
    assert room.find(gpus) is not None, "all was given back"


@given(cores=st.integers(1, 8), widths=Widths)
def test_on_the_cores_a_run_takes_a_place_a_rank(cores: int, widths: list[int]) -> None:
    room, taken = Room([], cores), 0
    for ranks in widths:
        found = room.find(ranks)
        assert (found is not None) == (taken + min(ranks, cores) <= cores)
        if found is not None:
            room.take(found)
            taken += min(ranks, cores)


@pytest.mark.parametrize("first", [1, 2])
def test_places_that_memory_takes_away_are_not_given_out_again(first: int) -> None:
    room = Room(GPUS[:2], 2)
    held = room.find(first)
    assert held is not None
    room.take(held)
    room.each = 1
    room.give_back(held)
    singles = []
    while found := room.find(1):
        room.take(found)
        singles.append(found.devices)
    assert singles == [["0"], ["1"]]
