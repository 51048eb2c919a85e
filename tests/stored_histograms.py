"""Histograms at hand written as a group, as one pass would write them. Holds no test."""

from pathlib import Path

from assets.counting.histograms import Histograms
from assets.counting.parts import Part
from assets.histograms.histogram_store import create_group, finish_group, write_part


def write_histograms(folder: Path | str, histograms: Histograms) -> None:
    """Write a new group into `folder`, layer by layer."""
    group = create_group(folder, {name: tuple(histograms[name].shape) for name in histograms.tensors})
    tokens, groups = len(histograms.token_ids), len(histograms.screened_ids)
    write_part(group, Part(range(histograms.layers), range(tokens), range(groups)), histograms)
    finish_group(group, histograms.positions, histograms.token_ids)
