"""Top predictions in two steps on CPUs that multiply bfloat16 natively: a shortlist in bfloat16, a decision in float32.

The result is the argmax of the float32 logits, not an approximation of it. Let x be a last hidden state, w_j the rows of the
unembedding, c their mean, K their length, u = 2^-24, growth = K u / (1 - K u), and r_j the float32 logit, in whatever order its
terms are added: |r_j - x w_j| <= growth |x| |w_j|. With z = bfloat16(x) and v_j = bfloat16(w_j - c), the shortlist's float32 sum
s_j of z v_j differs from r_j - x c, which ranks the entries as r_j does, by at most

    E = |z - x| V + |x| D + growth (|x| W + 2 |z| V)

where W, V and D are the largest |w_j|, |v_j| and |v_j - (w_j - c)|; all norms are measured, none estimated (the 2 leaves room
for processors that add products in pairs). The shortlist hands out bfloat16(s_j). So the entry with the largest r_j is among those
whose shortlisted logit is at least M - 2 E - 2^-7 |M|, M being the highest shortlisted logit: usually one or two of 50,257. Where
several remain, their logits are summed in float64; those closer than 2 growth (sum of |x_i w_ji|), which float32 may order
either way, are multiplied in float32 again, in a small product that was tried to give the bits of the whole one. Where too many
remain, the position's logits are all computed in float32.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

ROOM = 64  # candidates kept for a position; beyond, all its logits are computed in float32
BLOCK = 16  # positions, and near-ties of each, that are multiplied again together
SLICE = 2048  # vocabulary entries of a shortlisted slice: 4 MiB of bfloat16 for 1,024 positions
WHOLE = 32  # positions whose logits are all computed together after a shortlist left too many candidates
LEAST = 2**22  # numbers in an unembedding from which the shortlist pays; smaller ones fit in a cache anyway


@dataclass
class Shortlist:
    """A model's unembedding in bfloat16, centred, with the sizes that the bound needs."""

    weight: "torch.Tensor"  # bfloat16 [vocabulary, width]
    longest: float  # W
    longest_rounded: float  # V
    largest_error: float  # D
    growth: float
    bits_agree: dict[tuple[int, int], bool] = field(default_factory=dict)  # by positions and threads
    is_worth_it: bool = True  # False once most positions of a batch needed all their logits


def new_shortlist(weight: "torch.Tensor") -> Shortlist | None:
    """The shortlist of an unembedding [vocabulary, width] without bias; None where this processor or this size gains nothing."""
    import torch

    if not can_shortlist(weight):
        return None
    centre = weight.mean(0)
    rounded = torch.empty_like(weight, dtype=torch.bfloat16)
    largest = torch.zeros(3)
    for first in range(0, weight.shape[0], SLICE):
        rows = weight[first : first + SLICE]
        centred = rows - centre
        rounded[first : first + SLICE] = centred
        kept = rounded[first : first + SLICE].float()
        lengths = [numbers.norm(dim=1).max() for numbers in (rows, kept, kept - centred)]
        largest = torch.maximum(largest, torch.stack(lengths))
    longest, longest_rounded, error = (1.001 * largest).tolist()  # float32 sums of so many squares are off by far less
    error += longest_rounded * 2.0**-23  # what rounding w - c to float32 may have moved
    terms = weight.shape[1] * 2.0**-24
    if not np.isfinite([longest, longest_rounded, error]).all():
        return None
    return Shortlist(rounded, longest, longest_rounded, error, growth=terms / (1 - terms))


def can_shortlist(weight: "torch.Tensor") -> bool:
    """Float32 on a CPU with bfloat16 instructions, and large enough."""
    import torch

    has_instructions = torch.cpu.get_capabilities().get("avx512_bf16", False) and torch.backends.mkldnn.is_available()
    return bool(has_instructions) and weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= LEAST


def error_bounds(hidden: "torch.Tensor", rounded: "torch.Tensor", shortlist: Shortlist) -> "torch.Tensor":
    """E of every position, float64 [position], for hidden [position, width] and the same rounded to bfloat16."""
    import torch

    exact, kept = hidden.double(), rounded.double()
    length, kept_length = exact.norm(dim=1), kept.norm(dim=1)
    summed = shortlist.growth * (length * shortlist.longest + 2 * kept_length * shortlist.longest_rounded)
    least = torch.finfo(torch.float32).tiny * hidden.shape[1]  # numbers below it may be taken for 0
    return (kept - exact).norm(dim=1) * shortlist.longest_rounded + length * shortlist.largest_error + summed + least


def candidates(hidden: "torch.Tensor", shortlist: Shortlist) -> tuple[np.ndarray, ...]:
    """`limit`, `number`, `entries` and `keys` of shortlist.keep_candidates after the whole vocabulary."""
    import torch

    from assets.predictions.shortlist_loops import keep_candidates

    positions, vocabulary = hidden.shape[0], shortlist.weight.shape[0]
    rounded = hidden.bfloat16()
    error = error_bounds(hidden, rounded, shortlist).numpy()
    best, limit = (np.full(positions, -32768, np.int16) for _ in range(2))
    number, entries = np.zeros(positions, np.int32), np.zeros((positions, ROOM), np.int32)
    keys = np.zeros((positions, ROOM), np.int16)
    buffer = torch.empty(positions * min(SLICE, vocabulary), dtype=torch.bfloat16)
    for first in range(0, vocabulary, SLICE):
        rows = shortlist.weight[first : first + SLICE]
        logits = buffer[: positions * rows.shape[0]].view(positions, rows.shape[0])
        torch.mm(rounded, rows.t(), out=logits)
        keep_candidates(logits.view(torch.int16).numpy(), first, error, best, limit, number, entries, keys)
    return limit, number, entries, keys


def shortlisted_entries(hidden: "torch.Tensor", weight: "torch.Tensor", shortlist: Shortlist) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Top predictions of hidden [position, width], int64 [position], and the positions whose logits must all be computed."""
    import torch

    from assets.predictions.shortlist_loops import decide

    limit, number, entries, keys = candidates(hidden, shortlist)
    top = np.empty(hidden.shape[0], np.int64)
    decide(hidden.numpy(), weight.numpy(), shortlist.growth, limit, number, entries, keys, top)
    near = np.flatnonzero((top < 0) & (top >= -BLOCK))
    for start in range(0, near.size, BLOCK):
        rows = near[start : start + BLOCK]
        top[rows] = _first_largest(hidden, weight, rows, np.sort(_padded(entries[rows, :BLOCK], -top[rows]), axis=1))
    return torch.from_numpy(top), torch.from_numpy(np.flatnonzero(top < 0))


def _padded(entries: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Entries [row, BLOCK] of which `number` [row] count: the others become the first."""
    return np.where(np.arange(BLOCK) < number[:, None], entries, entries[:, :1])


def _first_largest(hidden: "torch.Tensor", weight: "torch.Tensor", rows: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Int64 [row]: which of entries [row, BLOCK], ascending, has the largest float32 logit, first of equals."""
    logits = _product_of_block(hidden, weight, rows, entries)
    own = logits.view(-1, logits.shape[1] // BLOCK, BLOCK)[np.arange(rows.size), np.arange(rows.size)].numpy()  # [row, BLOCK]
    return np.asarray(entries[np.arange(rows.size), own.argmax(1)], np.int64)


def _product_of_block(hidden: "torch.Tensor", weight: "torch.Tensor", rows: np.ndarray, entries: np.ndarray) -> "torch.Tensor":
    """Float32 logits [BLOCK, BLOCK x BLOCK] of BLOCK positions and the entries of all of them: one shape, whatever is asked."""
    import torch

    padded_rows, padded_entries = np.zeros(BLOCK, np.int64), np.zeros((BLOCK, BLOCK), np.int64)
    padded_rows[: rows.size], padded_entries[: rows.size] = rows, entries
    return torch.mm(hidden[torch.from_numpy(padded_rows)], weight[torch.from_numpy(padded_entries.reshape(-1))].t())


def do_bits_agree(shortlist: Shortlist, weight: "torch.Tensor", positions: int) -> bool:
    """Whether the small products give the bits of the whole one, tried once for each number of positions and threads."""
    import torch

    key = (positions, torch.get_num_threads())
    if key not in shortlist.bits_agree:
        hidden = torch.randn(positions, weight.shape[1], generator=torch.Generator().manual_seed(0))
        starts = {0, (weight.shape[0] - 1) // SLICE * SLICE}
        shortlist.bits_agree[key] = all(_agrees(hidden, weight, start) for start in starts)
    return shortlist.bits_agree[key]


def _agrees(hidden: "torch.Tensor", weight: "torch.Tensor", start: int) -> bool:
    import torch

    rows = weight[start : start + SLICE]
    whole = torch.mm(hidden, rows.t())
    entries = start + np.random.default_rng(0).integers(0, rows.shape[0], (BLOCK, BLOCK))
    for first in range(0, hidden.shape[0], WHOLE):
        taken = np.arange(first, first + WHOLE) % hidden.shape[0]
        if not torch.equal(torch.mm(hidden[taken], rows.t()), whole[taken]):
            return False
    for first in range(0, hidden.shape[0], BLOCK):
        taken = np.arange(first, first + BLOCK) % hidden.shape[0]
        again = _product_of_block(hidden, weight, taken, entries)
        if not torch.equal(again, whole[taken][:, entries.reshape(-1) - start]):
            return False
    return True
