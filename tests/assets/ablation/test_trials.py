"""Which of the positions are tried in plain forward passes: each layer at two, however many tokens and positions there are."""

from assets.ablation.readout import Target
from assets.ablation.visits import Subjects, Visit, with_trials


def visit(place: int, position: int, *layers: int) -> Visit:
    """A visit at a position that ablates neurons of these layers."""
    return Visit((0, 0), (0, place), Target(position, 1, 2), 0, Subjects(dict.fromkeys(layers, [0]), {}, {}, {}))


def test_each_layer_is_tried_where_it_comes_first_and_behind_the_longest_text() -> None:
    visits = [visit(0, 5, 1, 2), visit(1, 9, 2), visit(2, 7, 1, 3), visit(3, 9, 2), visit(4, 3, 3)]
    tried = with_trials(visits)
    assert [sorted(one.tried) for one in tried] == [[1, 2], [2], [1, 3], [], []]
    assert [(one.place, one.target) for one in tried] == [(one.place, one.target) for one in visits]


def test_nothing_is_tried_where_nothing_is_ablated() -> None:
    assert with_trials([]) == []
    assert with_trials([visit(0, 5)]) == [visit(0, 5)]
