"""Scripts of some tens of pieces of text each: tokens and predictions around the examples of all neurons, each piece once.

Holds the shape of a file, which static/atlas.js takes apart again. A piece is the number of its row in atlas_texts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from reports.atlas.scripts import packed, write_script

PIECES_PER_FILE = 64  # of some 200 bytes each
FOLLOWS = -1  # in prediction_ids: the token that does come next in the piece


def write_texts(site: Path, texts: pl.DataFrame) -> Iterator[str]:
    """Write atlas_texts as texts-0000.js and so on; yields each file."""
    for place, held in enumerate(texts.iter_slices(PIECES_PER_FILE)):
        yield write_script(site, f"texts-{place:04d}", packed(columns_of(held)))


def columns_of(texts: pl.DataFrame) -> dict[str, list[Any]]:
    """The table's columns, with a prediction that came true told as such."""
    columns = texts.to_dict(as_series=False)
    pairs = zip(columns["token_ids"], columns["prediction_ids"], strict=True)
    return {**columns, "prediction_ids": [_told(tokens, predictions) for tokens, predictions in pairs]}


def _told(tokens: list[int], predictions: list[int]) -> list[int]:
    following = [*tokens[1:], None]
    return [FOLLOWS if one == token else one for one, token in zip(predictions, following, strict=True)]
