"""A tree holds every beginning once, and answers every request whatever the order they come in."""

import random
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.tasks.packing import PackedRequests, pack

token = st.integers(1, 4)
"""Few, so that beginnings are shared and some sequences begin others."""
request = st.tuples(
    st.lists(token, max_size=5).map(lambda rest: [0, *rest]), st.lists(token, min_size=1, max_size=6)
)
requests = st.lists(request, min_size=1, max_size=25)


def packs(sequences, nodes: int = 1000) -> list[PackedRequests]:
    return list(pack(sequences, range(len(sequences)), nodes))


def beginnings(packed: PackedRequests) -> list[list[int]]:
    """The tokens from the root down to each node, read as the order depth first says."""
    found: list[list[int]] = []
    path: list[int] = []
    for token, depth in zip(packed.tree.tokens.tolist(), packed.tree.depth.tolist(), strict=True):
        assert depth <= len(path)
        path = [*path[:depth], token]
        found.append(path)
    return found


def asked(packed: PackedRequests, sequences) -> list[list[tuple[list[int], int]]]:
    """For each member, what stands before each token that is asked for, and the token."""
    before = beginnings(packed)
    nodes, place, target = packed.nodes.tolist(), packed.place.tolist(), packed.target.tolist()
    flat = [(before[nodes[place[answer]]], target[answer]) for answer in packed.answers.tolist()]
    assert len(flat) == sum(len(sequences[index][1]) for index in packed.members)
    answers = iter(flat)
    return [list(islice(answers, len(sequences[index][1]))) for index in packed.members]


@settings(max_examples=80)
@given(requests, st.integers(1, 30))
def test_every_token_is_asked_for_after_all_that_stands_before_it(sequences, nodes) -> None:
    answered = []
    for packed in packs(sequences, nodes):
        for index, found in zip(packed.members, asked(packed, sequences), strict=True):
            context, continuation = sequences[index]
            whole = context + continuation
            assert found == [(whole[:place], whole[place]) for place in range(len(context), len(whole))]
            answered.append(index)
    assert sorted(answered) == list(range(len(sequences)))


@given(requests)
def test_a_tree_has_as_many_nodes_as_there_are_different_beginnings(sequences) -> None:
    (packed,) = packs(sequences)
    different = {
        tuple((context + continuation)[:stop])
        for context, continuation in sequences
        for stop in range(1, len(context) + len(continuation))
    }
    assert len(packed.tree.tokens) == len(different)
    assert {tuple(tokens) for tokens in beginnings(packed)} == different


@given(requests)
def test_nobody_is_asked_twice(sequences) -> None:
    """Contexts are read and not asked about, and equal questions are one."""
    (packed,) = packs(sequences)
    questions = list(zip(packed.place.tolist(), packed.target.tolist(), strict=True))
    assert len(set(questions)) == len(questions)
    assert sorted({place for place, _ in questions}) == list(range(len(packed.nodes)))
    assert packed.place.tolist() == sorted(packed.place.tolist())


@given(requests, st.integers(1, 30))
def test_a_tree_is_larger_than_allowed_only_for_one_long_sequence(sequences, nodes) -> None:
    for packed in packs(sequences, nodes):
        longest = max(sum(map(len, sequences[index])) - 1 for index in packed.members)
        assert len(packed.tree.tokens) <= max(nodes, longest)


@given(requests, st.integers(5, 30), st.randoms(use_true_random=False))
def test_trees_do_not_depend_on_the_order_of_the_requests(sequences, nodes, draw: random.Random) -> None:
    different = [list(map(list, one)) for one in {(tuple(a), tuple(b)) for a, b in sequences}]
    shuffled = draw.sample(different, len(different))
    trees = [
        [(packed.tree.tokens.tolist(), packed.tree.depth.tolist()) for packed in found]
        for found in (packs(different, nodes), packs(shuffled, nodes))
    ]
    assert trees[0] == trees[1]


def test_choices_read_their_question_once() -> None:
    question = [0, *range(10, 40)]
    (packed,) = packs([(question, [choice, 9]) for choice in (1, 2, 3, 4)])
    assert len(packed.tree.tokens) == len(question) + 4
    assert len(packed.nodes) == 5


def test_the_longest_sequence_comes_first() -> None:
    sequences = [([0], [1] * 3), ([0], [2] * 30), ([0], [3] * 5)]
    first, *_ = packs(sequences, 20)
    assert first.members == [1]
