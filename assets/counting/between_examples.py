"""Examples of the levels between a neuron's extremes: of each band of its activation one window's extreme, drawn by a seeded hash.

Bands are octaves of the neuron's bins, on either side of 0: band 0 reaches from half of the outermost edge outwards, beyond the bins too, each
further band is the half of the one before. A window belongs to the band of its extreme on that side, so that what is shown around an example
is never higher than it. Of a band the window is kept whose document has the lowest hash, of one document the first: any order and any parts
give the same. Holds what a band is, the hash and the merge; the counters meet the windows.
"""

from collections.abc import Mapping

import numpy as np

from assets.counting.position_samples import position_hash

BANDS = 4  # down to a sixteenth of the outermost edge: below lies what hardly differs from 0
SEED = 20250307
NO_KEY = np.iinfo(np.int64).max  # where no example is held
PARTS = ("value", "document", "window", "position", "context")


def document_keys(documents: np.ndarray) -> np.ndarray:
    """Int64 of the shape of `documents`, their numbers in the corpus: the lower a key, the sooner a document is kept. NO_KEY for -1, no document."""
    keys = (position_hash(documents, 0, 0, SEED) >> np.uint64(1)).astype(np.int64)  # 63 bits: devices have no unsigned 64
    return np.where(documents < 0, NO_KEY, keys)


def outermost(per_unit: np.ndarray, first_bin: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """How far the bins reach above 0, and below it: float32 of the shape of `per_unit`; NaN, where there are no bands, if they do not."""
    first = first_bin.astype(np.float64)
    reach = [edge / per_unit.astype(np.float64) for edge in (first + bins, -first)]
    above, below = (np.where(edge > 0, edge, np.nan).astype(np.float32) for edge in reach)
    return above, below


def merged_between(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], side: str) -> dict[str, np.ndarray]:
    """The tensors <side>_<part> of the windows of both: of each band the example that comes first. `side` is of histograms.BETWEEN."""
    (keys_a, documents_a, windows_a), (keys_b, documents_b, windows_b) = (
        (document_keys(of[f"{side}_document"]), of[f"{side}_document"], of[f"{side}_window"]) for of in (a, b)
    )
    same_document = (keys_b == keys_a) & (documents_b == documents_a)
    is_b = (keys_b < keys_a) | ((keys_b == keys_a) & (documents_b < documents_a)) | (same_document & (windows_b < windows_a))
    merged = {f"{side}_{part}": np.where(is_b, b[f"{side}_{part}"], a[f"{side}_{part}"]) for part in PARTS[:-1]}
    merged[f"{side}_context"] = np.where(is_b[..., None], b[f"{side}_context"], a[f"{side}_context"])
    return merged
