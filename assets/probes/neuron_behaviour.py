"""What else a neuron does: at its highest and lowest activations and between them, which tokens are predicted and come next.

Reads the kept background positions, an even sample of the corpus. Highest examples show the extreme end alone; bands show whether
a neuron does one thing all the way, or several. Holds the two tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from assets.contracts import TABLES
from assets.counting.histograms import Histograms
from assets.counting.kept_positions import LABELS
from assets.probes.kept_cases import Kept, kept_of

EDGES = (0.0, 0.005, 0.02, 0.1)  # shares of positions, counted from either end
MIDDLE = len(EDGES)
TOKENS = 5  # most frequent ones told of each band
HIGH, LOW, BETWEEN = "high", "low", "middle"
BANDS = [*((end, band) for end in (HIGH, LOW) for band in range(1, MIDDLE)), (BETWEEN, MIDDLE)]
_BAND_KEY = ["layer", "neuron", "end", "band"]


@dataclass(frozen=True)
class Behaviour:
    """The two tables of the stage."""

    bands: pl.DataFrame
    tokens: pl.DataFrame


def neuron_behaviour(
    histograms: Histograms, studied: Sequence[tuple[int, int]], tracked: Sequence[int], texts: Mapping[int, str]
) -> Behaviour:
    """Tables neuron_bands and neuron_band_tokens of the neurons (layer, neuron). `texts` name every token of the vocabulary."""
    kept = kept_of(histograms)
    background = np.flatnonzero(kept.is_background)
    everywhere = {outcome: _counted(kept, outcome, background) for outcome in LABELS}
    bands, tokens = [], []
    for layer in sorted({layer for layer, _ in studied}) if background.size else []:
        slab = np.asarray(histograms["kept_activations"][: len(kept), layer])[background]
        for neuron in sorted(neuron for at, neuron in studied if at == layer):
            values = slab[:, neuron].astype(np.float64)
            placed = bands_of(values)
            for number, (end, band) in enumerate(BANDS):
                places = np.flatnonzero(placed == number)
                if not places.size:
                    continue
                key = dict(zip(_BAND_KEY, (layer, neuron, end, band), strict=True))
                bands.append(key | _band(kept, background[places], values[places], band))
                for outcome in LABELS:
                    tokens += [key | row for row in _tokens(kept, outcome, background[places], everywhere[outcome], tracked, texts)]
    return Behaviour(
        pl.DataFrame(bands, schema=TABLES["neuron_bands"].schema), pl.DataFrame(tokens, schema=TABLES["neuron_band_tokens"].schema)
    )


def bands_of(values: np.ndarray) -> np.ndarray:
    """Int64 [position]: the place in BANDS of each activation. Equal activations share a band: the first, from the end, that has room for all.

    A position's share is that of the positions at least as far out. Where the two ends meet, few positions with few values, the high end
    keeps what both could claim.
    """
    from scipy.stats import rankdata

    from_above, from_below = (rankdata(sign * values, "max") / values.size for sign in (-1, 1))
    placed = np.full(values.size, len(BANDS) - 1)
    for end, shares in ((LOW, from_below), (HIGH, from_above)):
        for band in range(1, MIDDLE):
            placed[(shares > EDGES[band - 1]) & (shares <= EDGES[band])] = BANDS.index((end, band))
    return placed


def _band(kept: Kept, places: np.ndarray, values: np.ndarray, band: int) -> dict[str, float]:
    return {
        "from_share": EDGES[band - 1],
        "to_share": EDGES[band] if band < MIDDLE else 1 - EDGES[-1],
        "lowest": float(values.min()),
        "highest": float(values.max()),
        "positions": places.size,
        "with_next_token": int((kept.rows.next_token[places] >= 0).sum()),
        "documents": np.unique(kept.rows.document[places]).size,
    }


def _counted(kept: Kept, outcome: str, places: np.ndarray) -> dict[int, int]:
    """Positions by token, of those that have one; most frequent first, ties to the lower id."""
    label = kept.rows.label(outcome)[places]
    tokens, counts = np.unique(label[label >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return dict(zip(tokens[order].tolist(), counts[order].tolist(), strict=True))


def _tokens(
    kept: Kept, outcome: str, places: np.ndarray, everywhere: Mapping[int, int], tracked: Sequence[int], texts: Mapping[int, str]
) -> list[dict[str, object]]:
    counted = _counted(kept, outcome, places)
    of, of_all = max(1, sum(counted.values())), max(1, sum(everywhere.values()))
    first = list(counted)[:TOKENS]
    told = [*first, *(token for token in sorted(tracked) if token not in first)]
    return [
        {
            "outcome": outcome,
            "token_id": token,
            "token": texts[token],
            "rank": place + 1 if place < len(first) else None,
            "is_tracked": token in tracked,
            "positions": counted.get(token, 0),
            "share": counted.get(token, 0) / of,
            "share_everywhere": everywhere.get(token, 0) / of_all,
        }
        for place, token in enumerate(told)
    ]
