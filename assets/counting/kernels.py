"""Counting of one batch on a GPU: Triton kernels that read each activation once. Imports Triton, so import it lazily.

`count_tiles` takes a tile, up to 128 positions of a window x 32 neurons: slots, histogram, extremes and central sums, which stay in
registers until the tile is done. `merge_tiles` adds a batch's tiles to the running counters and ranks each window's extremes among
the examples, in one fixed order, so that another run gives the same bits. `count_tracked` reads the slots again where a tracked token
is predicted. `add_groups` adds activations to the sums by predicted token, which reads them a second time, since predictions come
after the last layer; `add_rows` does for any rows, one sum of them. Several programs add to the same counters, but integers only, which is exact in any order.

Slots are those of counting._write_slots bit for bit: a floor stands between the product and the difference, so the two cannot become
one rounding, and products below float32's normal range are kept (OPTIONS). In Triton's interpreter the same source runs on CPU
tensors, which is how the tests run it.
"""

import torch
import triton
import triton.language as tl

# Of every launch: no fused multiply-add, so that the compiler's version does not change the last bits of sums. On NVIDIA, floor must
# not take -1e-45 for 0, as it does by default; AMD's compiler keeps such numbers and does not know the word.
OPTIONS = {"enable_fp_fusion": False} | ({} if torch.version.hip else {"enable_reflect_ftz": False})
LANES = 16  # positions that a tile counts at a time
TILE_NEURONS = 32
TILE_STEPS = 8  # at most; a tile of 128 positions writes 60 bytes a neuron, half a byte an activation
TILE_WARPS = 4  # 4 activations a thread: 128 registers and none spilled, by the compiler's own count; with 8 it takes 250
MERGED_NEURONS = 64  # of a program of merge_tiles
MERGE_WARPS = 2
TRACKED_NEURONS = 512  # of a program of count_tracked
TRACKED_SHARES = 8  # programs that share the tracked positions of a layer and block of neurons
GROUPED_NEURONS = 256  # of a program of add_groups
GROUPED_POSITIONS = 64


@triton.jit
def _slots(values, per_unit, first_bin, BINS: tl.constexpr):
    """Int32: the bin, or after the bins underflow, overflow, NaN."""
    step = tl.floor(values * per_unit) - first_bin
    is_nan = step != step
    slot = tl.minimum(tl.maximum(tl.where(is_nan, 0.0, step), 0.0), BINS - 1).to(tl.int32)
    slot = tl.where(step < 0, BINS, slot)
    slot = tl.where(step >= BINS, BINS + 1, slot)
    return tl.where(is_nan, BINS + 2, slot)


@triton.jit(do_not_specialize=["first", "positions", "tiles_of_row", "steps", "block_stride"])
def count_tiles(
    activations,  # [row, position, neuron], any float
    lengths,  # int64 [row]
    per_unit,  # float32 [neuron]
    first_bin,  # float32 [neuron]
    count,  # int32 [neuron, bins + 3] of a layer in block 0, added to
    blocks,  # int64 [row]: the block whose counters a row adds to
    block_stride,  # from a block's counters to the next block's
    slots,  # unsigned [row, position, neuron], written where counted
    sums,  # float64 [4, tile, neuron], written: mean, central squares, cubes, fourths
    extremes,  # float32 [2, tile, neuron], written: largest, smallest
    wholes,  # int32 [4, tile, neuron], written: values that are not NaN, values above zero, positions of the two extremes
    first,  # first counted position of a row
    positions,
    neurons,
    tiles_of_row,
    steps,  # of a tile, each over LANES positions
    BINS: tl.constexpr,
    LANES: tl.constexpr,
    NEURONS: tl.constexpr,
):
    """One tile: neurons of axis 0, tile of axis 1; tiles of one row follow each other.

    Each lane keeps power sums about the first value that it meets. Shifted by one of its own `steps` values, a sum is at most that many
    times the sum about the mean, so little is lost when it is moved there at the end.
    """
    tile, tiles = tl.program_id(1), tl.num_programs(1)
    row = tile // tiles_of_row
    begin = (tile % tiles_of_row) * steps * LANES
    lane = tl.arange(0, LANES)
    neuron = tl.program_id(0) * NEURONS + tl.arange(0, NEURONS)
    is_neuron = neuron < neurons
    length = tl.load(lengths + row)
    units = tl.load(per_unit + neuron, mask=is_neuron, other=1.0)[None, :]
    lowest = tl.load(first_bin + neuron, mask=is_neuron, other=0.0)[None, :]
    block = tl.load(blocks + row) * block_stride.to(tl.int64)
    counters = count + block + neuron.to(tl.int64)[None, :] * (BINS + 3)

    number = tl.zeros([LANES, NEURONS], tl.int32)
    above = tl.zeros([LANES, NEURONS], tl.int32)
    largest = tl.full([LANES, NEURONS], float("-inf"), tl.float32)
    smallest = tl.full([LANES, NEURONS], float("inf"), tl.float32)
    largest_at = tl.zeros([LANES, NEURONS], tl.int32)
    smallest_at = tl.zeros([LANES, NEURONS], tl.int32)
    shift = tl.zeros([LANES, NEURONS], tl.float32)
    total = tl.zeros([LANES, NEURONS], tl.float64)
    sum_1 = tl.zeros([LANES, NEURONS], tl.float64)
    sum_2 = tl.zeros([LANES, NEURONS], tl.float64)
    sum_3 = tl.zeros([LANES, NEURONS], tl.float64)
    sum_4 = tl.zeros([LANES, NEURONS], tl.float64)
    for step in range(steps):
        position = begin + step * LANES + lane
        is_position = (position >= first) & (position < length)
        is_counted = is_position[:, None] & is_neuron[None, :]
        place = (row * positions + position).to(tl.int64)[:, None] * neurons + neuron[None, :]
        values = tl.load(activations + place, mask=is_counted, other=0.0).to(tl.float32)
        slot = _slots(values, units, lowest, BINS)
        tl.store(slots + place, slot.to(slots.dtype.element_ty), mask=is_counted)
        tl.atomic_add(counters + slot, tl.full([LANES, NEURONS], 1, tl.int32), mask=is_counted, sem="relaxed")

        is_number = is_counted & (values == values)
        shift = tl.where(is_number & (number == 0), values, shift)
        number += is_number.to(tl.int32)
        above += (is_counted & (values > 0)).to(tl.int32)
        is_larger = is_number & (values > largest)
        largest = tl.where(is_larger, values, largest)
        largest_at = tl.where(is_larger, position[:, None], largest_at)
        is_smaller = is_number & (values < smallest)
        smallest = tl.where(is_smaller, values, smallest)
        smallest_at = tl.where(is_smaller, position[:, None], smallest_at)
        exact = tl.where(is_number, values, 0.0).to(tl.float64)
        gap = tl.where(is_number, exact - shift.to(tl.float64), 0.0)
        square = gap * gap
        total += exact
        sum_1 += gap
        sum_2 += square
        sum_3 += square * gap
        sum_4 += square * square

    values_of_tile = tl.sum(number, axis=0)
    mean = tl.sum(total, axis=0) / tl.maximum(values_of_tile, 1).to(tl.float64)
    several = number.to(tl.float64)
    move = tl.where(number > 0, shift.to(tl.float64) - mean[None, :], 0.0)
    square = move * move
    sum_4 += 4 * move * sum_3 + 6 * square * sum_2 + 4 * square * move * sum_1 + several * square * square
    sum_3 += 3 * move * sum_2 + 3 * square * sum_1 + several * square * move
    sum_2 += 2 * move * sum_1 + several * square
    high, low = tl.max(largest, axis=0), tl.min(smallest, axis=0)
    high_at = tl.min(tl.where(largest == high[None, :], largest_at, positions), axis=0)
    low_at = tl.min(tl.where(smallest == low[None, :], smallest_at, positions), axis=0)

    of = tile.to(tl.int64) * neurons + neuron
    plane = tiles.to(tl.int64) * neurons
    tl.store(sums + of, mean, mask=is_neuron)
    tl.store(sums + plane + of, tl.sum(sum_2, axis=0), mask=is_neuron)
    tl.store(sums + 2 * plane + of, tl.sum(sum_3, axis=0), mask=is_neuron)
    tl.store(sums + 3 * plane + of, tl.sum(sum_4, axis=0), mask=is_neuron)
    tl.store(extremes + of, high, mask=is_neuron)
    tl.store(extremes + plane + of, low, mask=is_neuron)
    tl.store(wholes + of, values_of_tile, mask=is_neuron)
    tl.store(wholes + plane + of, tl.sum(above, axis=0), mask=is_neuron)
    tl.store(wholes + 2 * plane + of, high_at, mask=is_neuron)
    tl.store(wholes + 3 * plane + of, low_at, mask=is_neuron)


@triton.jit
def _merge_moments(sums, wholes, values, above, moment_1, moment_2, moment_3, moment_4, tiles, neurons, neuron, is_neuron):
    """Add the tiles' central sums to the running ones: moved to the batch's mean, then Pebay (2008), equations 2.1 and 3.1."""
    plane = tiles.to(tl.int64) * neurons
    total = 0.0 * neuron.to(tl.float64)
    new, over = 0 * neuron.to(tl.int64), 0 * neuron.to(tl.int64)
    for tile in range(tiles):
        of = tile * neurons + neuron
        number = tl.load(wholes + of, mask=is_neuron, other=0)
        new += number.to(tl.int64)
        over += tl.load(wholes + plane + of, mask=is_neuron, other=0).to(tl.int64)
        total += number.to(tl.float64) * tl.load(sums + of, mask=is_neuron, other=0.0)
    mean = total / tl.maximum(new, 1).to(tl.float64)
    squares, cubes, fourths = tl.zeros_like(total), tl.zeros_like(total), tl.zeros_like(total)
    for tile in range(tiles):
        of = tile * neurons + neuron
        number = tl.load(wholes + of, mask=is_neuron, other=0).to(tl.float64)
        gap = tl.where(number > 0, tl.load(sums + of, mask=is_neuron, other=0.0) - mean, 0.0)
        own_squares = tl.load(sums + plane + of, mask=is_neuron, other=0.0)
        own_cubes = tl.load(sums + 2 * plane + of, mask=is_neuron, other=0.0)
        square = gap * gap
        squares += own_squares + number * square
        cubes += own_cubes + 3 * gap * own_squares + number * square * gap
        fourths += tl.load(sums + 3 * plane + of, mask=is_neuron, other=0.0)
        fourths += 4 * gap * own_cubes + 6 * square * own_squares + number * square * square

    old = tl.load(values + neuron, mask=is_neuron, other=0)
    a, b = old.to(tl.float64), new.to(tl.float64)
    both = tl.maximum(old + new, 1).to(tl.float64)
    is_new = is_neuron & (new > 0)  # a batch of nothing but NaN changes nothing
    old_mean = tl.load(moment_1 + neuron, mask=is_neuron, other=0.0)
    old_squares = tl.load(moment_2 + neuron, mask=is_neuron, other=0.0)
    old_cubes = tl.load(moment_3 + neuron, mask=is_neuron, other=0.0)
    old_fourths = tl.load(moment_4 + neuron, mask=is_neuron, other=0.0)
    gap = mean - old_mean
    square, product = gap * gap, a * b
    fourths += old_fourths + square * square * product * (a * a - product + b * b) / (both * both * both)
    fourths += 6 * square * (a * a * squares + b * b * old_squares) / (both * both) + 4 * gap * (a * cubes - b * old_cubes) / both
    cubes += old_cubes + square * gap * product * (a - b) / (both * both) + 3 * gap * (a * squares - b * old_squares) / both
    squares += old_squares + square * product / both
    tl.store(moment_1 + neuron, old_mean + gap * (b / both), mask=is_new)
    tl.store(moment_2 + neuron, squares, mask=is_new)
    tl.store(moment_3 + neuron, cubes, mask=is_new)
    tl.store(moment_4 + neuron, fourths, mask=is_new)
    tl.store(values + neuron, old + new, mask=is_neuron)
    tl.store(above + neuron, tl.load(above + neuron, mask=is_neuron, other=0) + over, mask=is_neuron)


@triton.jit
def _is_before(value, document, window, position, held_value, held_document, held_window, held_position):
    """Whether an example ranks before a held one: higher first, then lower document, window, position."""
    by_position = (window < held_window) | ((window == held_window) & (position < held_position))
    by_place = (document < held_document) | ((document == held_document) & by_position)
    return (held_document < 0) | (value > held_value) | ((value == held_value) & by_place)


@triton.jit
def _keep_between(
    value, document, window, position, key, end, held_keys, held_values, held_documents, held_windows, held_positions, neuron, is_neuron,
    SIGN: tl.constexpr, BANDS: tl.constexpr,
):  # fmt: skip
    """Keep a window's extreme, SIGN x value, as the example of its band (assets/counting/between_examples.py) if it comes before the one held."""
    bound = 0.5 * end
    band = 0 * neuron
    for _ in range(BANDS):
        is_lower = (band < BANDS) & ((value >= bound) == 0)  # NaN: no bound is reached
        bound = tl.where(is_lower, 0.5 * bound, bound)
        band += is_lower.to(tl.int32)
    is_in = is_neuron & (band < BANDS)
    at = neuron * BANDS + band
    held_key = tl.load(held_keys + at, mask=is_in, other=0)
    is_in = is_in & (key <= held_key)
    held_document, held_window = tl.load(held_documents + at, mask=is_in, other=0), tl.load(held_windows + at, mask=is_in, other=0)
    is_earlier = (held_document < 0) | (document < held_document) | ((document == held_document) & (window < held_window))
    is_kept = is_in & ((key < held_key) | is_earlier)
    tl.store(held_keys + at, key + 0 * document, mask=is_kept)
    tl.store(held_values + at, SIGN * value, mask=is_kept)
    tl.store(held_documents + at, document, mask=is_kept)
    tl.store(held_windows + at, window, mask=is_kept)
    tl.store(held_positions + at, position, mask=is_kept)
    tl.debug_barrier()  # the next window reads what was stored, perhaps by another thread


@triton.jit
def _rank_windows(
    extremes, places, documents, windows, bound,
    ranked_values, ranked_documents, ranked_windows, ranked_positions,
    keys, outermost, held_keys, between_values, between_documents, between_windows, between_positions,
    rows, tiles_of_row, neurons, neuron, is_neuron, SIGN: tl.constexpr, RANKS: tl.constexpr, BANDS: tl.constexpr,
):  # fmt: skip
    """Offer each window's extreme (SIGN 1: largest, -1: smallest) to the neurons' ranked examples, one a document, to the examples of the
    levels between, and to the bound."""
    end = tl.load(outermost + neuron, mask=is_neuron, other=float("nan"))
    limit = SIGN * tl.load(bound + neuron, mask=is_neuron, other=0.0)
    for row in range(rows):
        value = tl.full(neuron.shape, float("-inf"), tl.float32)
        position = 0 * neuron
        for tile in range(row * tiles_of_row, (row + 1) * tiles_of_row):
            own = SIGN * tl.load(extremes + tile * neurons + neuron, mask=is_neuron, other=float("nan"))
            is_more = own > value
            value = tl.where(is_more, own, value)
            position = tl.where(is_more, tl.load(places + tile * neurons + neuron, mask=is_neuron, other=0), position)
        limit = tl.maximum(limit, value)
        own_document = tl.load(documents + row)
        document, window = own_document + 0 * neuron.to(tl.int64), tl.load(windows + row) + 0 * neuron
        _keep_between(
            value, document, window, position, tl.load(keys + row), end, held_keys, between_values, between_documents, between_windows,
            between_positions, neuron, is_neuron, SIGN, BANDS,
        )  # fmt: skip
        last = neuron * RANKS + RANKS - 1
        is_open = is_neuron & (value > float("-inf")) & _is_before(
            value, document, window, position,
            SIGN * tl.load(ranked_values + last, mask=is_neuron, other=0.0), tl.load(ranked_documents + last, mask=is_neuron, other=0),
            tl.load(ranked_windows + last, mask=is_neuron, other=0), tl.load(ranked_positions + last, mask=is_neuron, other=0),
        )  # fmt: skip
        if tl.max(is_open.to(tl.int32), axis=0) > 0:
            is_placed = is_open & (neuron < 0)
            for rank in range(RANKS):  # down the ranks: put down what is carried, take up what was held there
                at = neuron * RANKS + rank
                held_value = SIGN * tl.load(ranked_values + at, mask=is_open, other=0.0)
                held_document = tl.load(ranked_documents + at, mask=is_open, other=0)
                held_window = tl.load(ranked_windows + at, mask=is_open, other=0)
                held_position = tl.load(ranked_positions + at, mask=is_open, other=0)
                is_swapped = is_open & (
                    is_placed | _is_before(value, document, window, position, held_value, held_document, held_window, held_position)
                )
                tl.store(ranked_values + at, SIGN * value, mask=is_swapped)
                tl.store(ranked_documents + at, document, mask=is_swapped)
                tl.store(ranked_windows + at, window, mask=is_swapped)
                tl.store(ranked_positions + at, position, mask=is_swapped)
                value = tl.where(is_swapped, held_value, value)
                document = tl.where(is_swapped, held_document, document)
                window = tl.where(is_swapped, held_window, window)
                position = tl.where(is_swapped, held_position, position)
                is_placed = is_placed | is_swapped
                is_open = is_open & (held_document != own_document)  # its document's earlier example is gone, or better
            tl.debug_barrier()  # the next window reads what was stored, perhaps by another thread
    tl.store(bound + neuron, SIGN * limit, mask=is_neuron)


@triton.jit(do_not_specialize=["rows", "tiles_of_row"])
def merge_tiles(
    sums, extremes, wholes,  # as count_tiles wrote them
    documents,  # int64 [row]
    windows,  # int32 [row]
    values, above,  # int64 [neuron], added to: values that are not NaN, values above zero
    moment_1, moment_2, moment_3, moment_4,  # float64 [neuron], running: the mean, then central sums
    minimum, maximum,  # float32 [neuron], running
    top_values, top_documents, top_windows, top_positions,  # float32, int64, int32, int32 [neuron, rank], ranked
    bottom_values, bottom_documents, bottom_windows, bottom_positions,
    keys,  # int64 [row], of the documents
    outermost_top,  # float32 [neuron]: how far the bins reach above 0, NaN where they do not
    keys_top, between_values_top, between_documents_top, between_windows_top, between_positions_top,  # [neuron, band], of a band each
    outermost_bottom, keys_bottom, between_values_bottom, between_documents_bottom, between_windows_bottom, between_positions_bottom,
    rows, tiles_of_row, neurons, RANKS: tl.constexpr, BANDS: tl.constexpr, NEURONS: tl.constexpr,
):  # fmt: skip
    """Add all tiles of a layer to the counters of the neurons of this program."""
    neuron = tl.program_id(0) * NEURONS + tl.arange(0, NEURONS)
    is_neuron = neuron < neurons
    tiles = rows * tiles_of_row
    plane = tiles.to(tl.int64) * neurons
    _merge_moments(sums, wholes, values, above, moment_1, moment_2, moment_3, moment_4, tiles, neurons, neuron, is_neuron)
    _rank_windows(
        extremes, wholes + 2 * plane, documents, windows, maximum, top_values, top_documents, top_windows, top_positions,
        keys, outermost_top, keys_top, between_values_top, between_documents_top, between_windows_top, between_positions_top,
        rows, tiles_of_row, neurons, neuron, is_neuron, 1, RANKS, BANDS,
    )  # fmt: skip
    _rank_windows(
        extremes + plane, wholes + 3 * plane, documents, windows, minimum, bottom_values, bottom_documents, bottom_windows,
        bottom_positions, keys, outermost_bottom, keys_bottom, between_values_bottom, between_documents_bottom, between_windows_bottom,
        between_positions_bottom, rows, tiles_of_row, neurons, neuron, is_neuron, -1, RANKS, BANDS,
    )  # fmt: skip


@triton.jit(do_not_specialize=["positions"])
def count_tracked(
    slots,  # unsigned [layer, position of the batch, neuron]
    places,  # int64: positions of the batch, those that belong to a row first
    rows,  # int64: the row of each, of a block and a tracked token
    tracked,  # int64: how many belong to one
    count,  # whole numbers [row, layer, neuron, bins + 3], added to
    positions,
    neurons,
    BINS: tl.constexpr,
    NEURONS: tl.constexpr,
    SHARES: tl.constexpr,
):
    """Neurons of axis 0 of the layer of axis 1 at every SHARES-th tracked position, from that of axis 2 on."""
    neuron = tl.program_id(0) * NEURONS + tl.arange(0, NEURONS)
    is_neuron = neuron < neurons
    layer, layers = tl.program_id(1).to(tl.int64), tl.num_programs(1).to(tl.int64)
    one = tl.full([NEURONS], 1, count.dtype.element_ty)
    for k in range(tl.program_id(2), tl.load(tracked).to(tl.int32), SHARES):
        place, row = tl.load(places + k), tl.load(rows + k)
        slot = tl.load(slots + (layer * positions + place) * neurons + neuron, mask=is_neuron, other=0)
        counter = ((row * layers + layer) * neurons + neuron) * (BINS + 3) + slot
        tl.atomic_add(count + counter, one, mask=is_neuron, sem="relaxed")


@triton.jit
def _whole(number):
    """Int64: float64 rounded to the nearest whole number, ties to even; |number| <= 2^62."""
    near = (number + 6755399441055744.0) - 6755399441055744.0  # 1.5 x 2^52: what a sum of this size cannot hold is rounded away
    return tl.where(tl.abs(number) < 2251799813685248.0, near, number).to(tl.int64)  # from 2^51 on all products here are whole


@triton.jit(do_not_specialize=["number"])
def add_groups(
    activations,  # [position of the batch, neuron], any float
    places,  # int64 [counted]: positions of the batch
    groups,  # int64 [counted]: the group of each, ascending; negative is left out
    sums,  # int64 [group, neuron], added to
    squares,  # int64 [group, neuron], added to
    scaled,  # int64 [group, neuron], added to
    inverse_scale,  # float32 [position of the batch]
    number,  # of counted positions
    neurons,
    UNITS: tl.constexpr,
    SCALED_UNITS: tl.constexpr,
    LARGEST: tl.constexpr,
    NEURONS: tl.constexpr,
    SHARE: tl.constexpr,
):
    """Neurons of axis 0 at SHARE positions that follow each other, the share of axis 1; a group's sums are added where it ends."""
    neuron = tl.program_id(0) * NEURONS + tl.arange(0, NEURONS)
    is_neuron = neuron < neurons
    begin = tl.program_id(1) * SHARE
    current = tl.load(groups + begin)
    total = tl.zeros([NEURONS], tl.int64)
    total_squares = tl.zeros([NEURONS], tl.int64)
    total_scaled = tl.zeros([NEURONS], tl.int64)
    for k in range(begin, tl.minimum(begin + SHARE, number)):
        group = tl.load(groups + k)
        if group != current:
            tl.atomic_add(sums + current * neurons + neuron, total, mask=is_neuron & (current >= 0), sem="relaxed")
            tl.atomic_add(squares + current * neurons + neuron, total_squares, mask=is_neuron & (current >= 0), sem="relaxed")
            tl.atomic_add(scaled + current * neurons + neuron, total_scaled, mask=is_neuron & (current >= 0), sem="relaxed")
            total = tl.zeros([NEURONS], tl.int64)
            total_squares = tl.zeros([NEURONS], tl.int64)
            total_scaled = tl.zeros([NEURONS], tl.int64)
            current = group
        place = tl.load(places + k)
        values = tl.load(activations + place * neurons + neuron, mask=is_neuron, other=0.0).to(tl.float32)
        values = tl.minimum(tl.maximum(tl.where(values == values, values, 0.0), -LARGEST), LARGEST).to(tl.float64)
        total += _whole(values * UNITS)
        total_squares += _whole(values * values * UNITS)
        values = values * tl.load(inverse_scale + place).to(tl.float64)
        total_scaled += _whole(tl.minimum(tl.maximum(values, -LARGEST), LARGEST) * SCALED_UNITS)
    tl.atomic_add(sums + current * neurons + neuron, total, mask=is_neuron & (current >= 0), sem="relaxed")
    tl.atomic_add(squares + current * neurons + neuron, total_squares, mask=is_neuron & (current >= 0), sem="relaxed")
    tl.atomic_add(scaled + current * neurons + neuron, total_scaled, mask=is_neuron & (current >= 0), sem="relaxed")


@triton.jit(do_not_specialize=["number"])
def add_rows(
    activations,  # [position of the batch, neuron], any float
    places,  # int64: positions of the batch
    rows,  # int64: the row of each, equal ones side by side as far as may be; negative is left out
    sums,  # int64 [row, neuron], added to
    inverse_scale,  # float32 [position of the batch], read where IS_SCALED
    number,  # of places
    neurons,
    UNITS: tl.constexpr,
    LARGEST: tl.constexpr,
    IS_SCALED: tl.constexpr,  # the sums are of activations over the final norm's scale
    NEURONS: tl.constexpr,
    SHARE: tl.constexpr,
):
    """Neurons of axis 0 at SHARE places that follow each other, the share of axis 1; a row's sum is added where it ends."""
    neuron = tl.program_id(0) * NEURONS + tl.arange(0, NEURONS)
    is_neuron = neuron < neurons
    begin = tl.program_id(1) * SHARE
    current = tl.load(rows + begin)
    total = tl.zeros([NEURONS], tl.int64)
    for k in range(begin, tl.minimum(begin + SHARE, number)):
        row = tl.load(rows + k)
        if row != current:
            tl.atomic_add(sums + current * neurons + neuron, total, mask=is_neuron & (current >= 0), sem="relaxed")
            total = tl.zeros([NEURONS], tl.int64)
            current = row
        place = tl.load(places + k)
        values = tl.load(activations + place * neurons + neuron, mask=is_neuron & (row >= 0), other=0.0).to(tl.float32)
        values = tl.minimum(tl.maximum(tl.where(values == values, values, 0.0), -LARGEST), LARGEST).to(tl.float64)
        if IS_SCALED:
            values = values * tl.load(inverse_scale + place).to(tl.float64)
            values = tl.minimum(tl.maximum(values, -LARGEST), LARGEST)
        total += _whole(values * UNITS)
    tl.atomic_add(sums + current * neurons + neuron, total, mask=is_neuron & (current >= 0), sem="relaxed")
