"""The folder atlas/data of the site: every neuron's record, the text around examples, the vocabulary, the numbers of all neurons, words and tokens to search.

Holds which files there are and what contents.js says of them. The pages that load them are in reports/pages/atlas.py.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from assets.atlas.atlas_texts import PIECE, Texts
from assets.atlas.neuron_record import TABLES_OF_NEURONS, neuron_frames
from assets.counting.histograms import BEFORE, SIDES
from reports.atlas.neuron_scripts import LISTS, NEURONS_PER_FILE, SINGLE, write_neurons
from reports.atlas.overview import COLUMNS, overview, write_overview
from reports.atlas.scripts import FOLDER, packed, write_script
from reports.atlas.text_scripts import FOLLOWS, PIECES_PER_FILE, write_texts
from reports.atlas.token_scripts import COLUMNS as TOKEN_COLUMNS
from reports.atlas.token_scripts import LISTS as TOKEN_LISTS
from reports.atlas.token_scripts import TOKENS_PER_FILE, write_tokens
from reports.atlas.words import word_index, write_words
from reports.report_data import ReportData


def write_atlas(data: ReportData, site: Path) -> list[str]:
    """Write atlas/data below the site; returns its files. None where the study has no atlas."""
    if not data.has_atlas:
        return []
    (site / FOLDER).mkdir(parents=True)
    layers, neurons = data.atlas_shape
    texts = dict(data.table("token_counts").select("token_id", "token").iter_rows())
    pieces = data.table("atlas_texts")
    frames = neuron_frames({name: data.table(name) for name in TABLES_OF_NEURONS})
    files = [*write_neurons(site, frames, neurons, pieces), *write_texts(site, pieces)]
    files.append(write_script(site, "vocabulary", packed([texts.get(token_id, "") for token_id in range(max(texts, default=-1) + 1)])))
    files.append(write_overview(site, overview(data, layers, neurons)))
    files += write_tokens(site, data)
    index = word_index(_extremes(data), Texts.of(pieces), data.table("neuron_statistics"), texts, neurons)
    words, first_words = write_words(site, index)
    return [*files, *words, _write_contents(site, _contents(data, first_words))]


def _extremes(data: ReportData) -> pl.DataFrame:
    """The highest and lowest examples: what is in between, or anywhere, is no reason to find a neuron by a word."""
    return data.table("atlas_examples").filter(pl.col("side").is_in(SIDES))


def _contents(data: ReportData, first_words: list[str]) -> dict[str, Any]:
    """What a page must know before it loads anything else."""
    layers, neurons = data.atlas_shape
    return {
        "layers": layers,
        "neurons": neurons,
        "held": data.neurons_of_atlas,
        "neuronsPerFile": NEURONS_PER_FILE,
        "tokensPerFile": TOKENS_PER_FILE,
        "single": SINGLE,
        "lists": LISTS,
        "follows": FOLLOWS,
        "piecesPerFile": PIECES_PER_FILE,
        "tokensPerPiece": PIECE,
        "tokensBefore": BEFORE,
        "tokenColumns": TOKEN_COLUMNS,
        "tokenLists": TOKEN_LISTS,
        "overview": COLUMNS,
        "firstWords": first_words,
        "tracked": [token_id for token_id, _ in data.tracked],
        "groups": dict(data.table("token_groups").select("token_id", "token").unique(maintain_order=True).iter_rows()),
        "studied": data.studied,
        "firstCounted": 0 if data.study.count_bos else 1,
        "positions": data.facts.get("positions"),
        "screened": data.table("screened_tokens").height,
        "minCount": data.study.min_count,
        "isGated": bool(data.facts.get("is_gated")),
    }


def _write_contents(site: Path, contents: dict[str, Any]) -> str:
    """Write contents.js, which every page of the atlas loads first: small, and plain so that a reader can look at it."""
    file = f"{FOLDER}/contents.js"
    (site / file).write_text(f"atlasContents({json.dumps(contents, allow_nan=False)});\n", encoding="ascii")  # beyond ASCII is escaped
    return file
