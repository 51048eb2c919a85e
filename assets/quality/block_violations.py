"""Exact numbers of broken rules in the counters by block of documents and of null labels: frames that are then judged.

Holds counting only, a piece of a layer's counters at a time.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from assets.contracts import Tensor
from assets.counting.document_blocks import TELLING, blocks_of_half
from assets.counting.histograms import COUNTED_PARTS, Histograms
from assets.histograms.histogram_store import index_of, pieces
from assets.histograms.layers_at_once import of_every_layer


@dataclass(frozen=True)
class BlockViolations:
    """Small frames.

    `positions`: one row: counted positions, those of all blocks, and blocks with less than none.
    `counters`: one row per layer and counter: bins (or what lies outside them) that are negative in a block, or in which the blocks do not
    add up (`unlike`).
    `sums`: one row per layer and sum over the final norm's scale, or under null labels: `neurons` and tokens, and those whose blocks, or
    groups, do not add up (`unlike`).
    `nulls`: one row per layer, outcome and token: `neurons`, and those whose null labels are of another number of positions than the
    token's own in the telling half (`unlike`).
    """

    positions: pl.DataFrame
    counters: pl.DataFrame
    sums: pl.DataFrame
    nulls: pl.DataFrame


def block_violations(histograms: Histograms) -> BlockViolations:
    """Count every violation in the blocks of a shard or of the whole corpus."""
    tensors = {tensor.name: tensor for tensor in histograms.block_sums}
    held = np.asarray(histograms["block_positions"][:])
    positions = {"positions": [histograms.positions], "held": [int(held.sum())], "negative": [int((held < 0).sum())]}
    found = of_every_layer(histograms.layers, lambda layer: _of_layer(histograms, tensors, layer))
    counters = [row for of_layer, _ in found for row in of_layer]
    nulls = [rows for _, of_layer in found for rows in of_layer]
    sums = pl.DataFrame([row for layer in range(histograms.layers) for row in _sum_rows(histograms, layer)])
    by_token = pl.concat(nulls).group_by("layer", "outcome", "token_id", maintain_order=True).sum() if nulls else _no_nulls()
    return BlockViolations(pl.DataFrame(positions), pl.DataFrame(counters), sums, by_token)


def _of_layer(histograms: Histograms, tensors: dict[str, Tensor], layer: int) -> tuple[list[dict[str, int | str]], list[pl.DataFrame]]:
    """A row of the counters for each of the layer's, and rows of nulls of its tokens."""
    counters: list[dict[str, int | str]] = []
    nulls: list[pl.DataFrame] = []
    for name in (name.removesuffix("_count") for name in tensors if name.startswith("block_") and name.endswith("_count")):
        unlike = 0
        for piece in pieces(tensors[f"{name}_count"], histograms[f"{name}_count"].shape):
            parts = {part: _piece(histograms, tensors[f"{name}_{part}"], layer, piece) for part in COUNTED_PARTS}
            unlike += sum(_unlike(histograms, f"{name}_{part}", layer, piece, values) for part, values in parts.items())
            outcome = name.removeprefix("block").removeprefix("_")
            if f"null_{outcome}_count" in tensors:
                nulls.append(_null_rows(histograms, tensors, outcome, layer, piece, parts))
        counters.append({"layer": layer, "counter": name, "unlike": unlike})
    return counters, nulls


def _piece(histograms: Histograms, tensor: Tensor, layer: int, piece: dict[str, slice]) -> np.ndarray:
    return np.asarray(histograms[tensor.name][index_of(tensor, layer=layer, **piece)])


def _unlike(histograms: Histograms, name: str, layer: int, piece: dict[str, slice], by_block: np.ndarray) -> int:
    """Slots that break the rule of the piece, [block, token, neuron, slot] or without tokens."""
    from assets.histograms.held_counts import unlike_blocks

    whole = histograms[name.removeprefix("block_")]
    if "token" in piece:
        return int(unlike_blocks(by_block, np.asarray(whole[piece["token"], layer, piece["neuron"]])).sum())
    return int(unlike_blocks(by_block[:, None], np.asarray(whole[layer, piece["neuron"]])[None]).sum())


def _null_rows(
    histograms: Histograms, tensors: dict[str, Tensor], outcome: str, layer: int, piece: dict[str, slice], by_block: dict[str, np.ndarray]
) -> pl.DataFrame:
    """Of the tokens of a piece, whose counters `by_block` are [block, token, neuron, slot]."""
    telling = blocks_of_half(TELLING, histograms.blocks)
    nulls = [_piece(histograms, tensors[f"null_{outcome}_{part}"], layer, piece) for part in COUNTED_PARTS]
    expected = np.sum([values[telling].sum((0, -1), dtype=np.int64) for values in by_block.values()], axis=0)  # [token, neuron]
    found = np.sum([values.sum(-1, dtype=np.int64) for values in nulls], axis=0)
    is_negative = np.any([(values < 0).any(-1) for values in nulls], axis=0)
    token_ids = np.asarray(histograms.token_ids, np.int64)[piece["token"]]
    unlike = ((found != expected) | is_negative).sum(-1)
    rows = {"layer": np.full(len(token_ids), layer), "token_id": token_ids, "neurons": np.full(len(token_ids), found.shape[1])}
    return pl.DataFrame({**rows, "unlike": unlike}).with_columns(outcome=pl.lit(outcome))


def _no_nulls() -> pl.DataFrame:
    return pl.DataFrame({"layer": [0], "outcome": [""], "token_id": [0], "neurons": [0], "unlike": [0]})


def _sum_rows(histograms: Histograms, layer: int) -> list[dict[str, int | str]]:
    """What must be the same: sums of all blocks and of all documents; of all groups with and without null labels."""
    if not histograms.screened_ids.size:
        return [{"layer": layer, "sum": "", "neurons": histograms.neurons, "unlike": 0}]

    def of(name: str) -> np.ndarray:
        return np.asarray(histograms[name][layer])

    def by_block(name: str) -> np.ndarray:
        return np.asarray(np.asarray(histograms[name][:, layer]).sum(0))

    compared = {
        "block_scaled": (by_block("block_scaled"), of("screen_scaled").sum(0)),
        "screen_null_sum": (of("screen_null_sum").sum(0), of("screen_sum").sum(0)),
    }
    for name in (name for name in histograms.outcome_sums if name.endswith("_scaled")):
        compared[f"block_{name}"] = (by_block(f"block_{name}"), of(name))
    return [
        {"layer": layer, "sum": name, "neurons": found.size, "unlike": int((found != expected).sum())}
        for name, (found, expected) in compared.items()
    ]
