"""What a computation tells of its progress, held against what it promises: one total, rising, and reached at the end."""

from collections.abc import Callable

from assets.progress import Told


def steps_told(compute: Callable[[Told], object]) -> list[int]:
    """Units done after each call of the progress that `compute` is given; the last is the total."""
    told: list[tuple[int, int]] = []
    compute(lambda done, total: told.append((done, total)))
    steps = [done for done, _ in told]
    assert {total for _, total in told} == {steps[-1]}
    assert steps == sorted(set(steps))
    return steps
