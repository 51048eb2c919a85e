"""What must hold of the tables of `across_models`: their contracts, and that what they say of ranks and agreement is true of the rows.

Judged like every other output (expectations). The check reads only the published tables, so it also finds a later change to them.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from assets.across_models.across_models import COMPARED, MEASURES
from assets.contracts import ACROSS_MODELS_TABLES
from assets.quality import table_violations
from assets.quality.check import Check
from assets.quality.checks.contracts import contract_check
from assets.quality.expectations import Outcome, none_of
from assets.statistics.writing_roles import ALSO_WRITES, GOES_ALONG, HOLDS, WRITES_MOST, WRITES_TOO

ASSET = "across_models"


def across_models_quality(tables: Mapping[str, pl.DataFrame], studies: Sequence[str]) -> list[Outcome]:
    """Every outcome for the three tables by contract name; `studies` are the names that must be accounted for."""
    frames = {check.name: table_violations.of_contract(ACROSS_MODELS_TABLES[name], tables[name]) for name, check in CONTRACTS.items()}
    frames[VALUES.name] = {
        "studies": _accounted(tables, studies),
        "neurons": _ranked(tables),
        "agreements": _agreed(tables),
        "roles": _roles(tables),
    }
    return [outcome for check in CHECKS for outcome in check.judged(frames[check.name])]


def _accounted(tables: Mapping[str, pl.DataFrame], studies: Sequence[str]) -> pl.DataFrame:
    shown, tokens = tables["across_models_studies"], tables["across_models_tokens"]
    compared = shown.filter(pl.col("state") == COMPARED)["study"].to_list()
    silent = shown.filter((pl.col("state") != COMPARED) & (pl.col("reason").fill_null("") == "")).height
    kinds = tokens["token"].n_unique()
    return pl.DataFrame(
        {
            "studies": [len(studies)],
            "absent": [len(set(studies) - set(shown["study"].to_list()))],
            "silent": [silent],
            "cells": [kinds * len(compared)],
            "unfilled": [kinds * len(compared) - tokens.filter(pl.col("study").is_in(compared)).select("study", "token").n_unique()],
        }
    )


def _ranked(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per study and token: neurons whose place contradicts their value."""
    frame = tables["across_models_neurons"]
    pairs = [(measure, f"{measure}_rank", True) for measure in MEASURES] + [("ablation_effect", "ablation_rank", False)]
    over = ["study", "token_id"]
    torn = pl.any_horizontal((pl.col(value).is_null() != pl.col(rank).is_null()) for value, rank, _ in pairs)
    turned = pl.any_horizontal(
        (pl.col(rank).rank("dense") != pl.col(value).rank("dense", descending=descends)).over(over).fill_null(False)
        for value, rank, descends in pairs
    )
    by_token = frame.group_by(over, maintain_order=True).agg(neurons=pl.len().cast(pl.Int64))
    wrong = frame.select(*over, torn=torn, turned=turned).group_by(over, maintain_order=True)
    return by_token.join(wrong.agg(pl.col("torn", "turned").sum().cast(pl.Int64)), on=over, maintain_order="left")


def _agreed(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The agreeing neuron, looked up among the neurons: first by as many measures as are said to agree on it."""
    key = ["study", "token_id", "layer", "neuron"]
    firsts = pl.sum_horizontal(
        ((pl.col(f"{name}_rank") == 1) & (pl.col(name) > least)).fill_null(False).cast(pl.Int32) for name, least in MEASURES.items()
    )
    neurons = tables["across_models_neurons"].select(*key, firsts=firsts)
    said = tables["across_models_tokens"].filter(pl.col("neuron").is_not_null()).select(*key, "agreeing", "measures")
    looked_up = said.join(neurons, on=key, how="left", maintain_order="left")
    wrong = (pl.col("firsts").fill_null(-1) != pl.col("agreeing")) | (pl.col("agreeing") > pl.col("measures"))
    return looked_up.select(agreements=pl.len().cast(pl.Int64), wrong=wrong.sum().cast(pl.Int64))


def _roles(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The role of each best predictor, looked up among the neurons: which place and share of the first contribution it says."""
    key, own, most = ["study", "token_id"], pl.col("contribution"), pl.col("most")
    neurons = tables["across_models_neurons"]
    first = neurons.filter(pl.col("contribution_rank") == 1).group_by(key).agg(most=own.max())
    best = neurons.filter(pl.col("separation_rank") == 1).sort("layer", "neuron").group_by(key, maintain_order=True).first()
    said = tables["across_models_tokens"].filter(pl.col("predictor_role").is_not_null()).select(*key, role="predictor_role")
    found = said.join(best.select(*key, "contribution", "contribution_rank"), on=key, how="left", maintain_order="left").join(
        first, on=key, how="left", maintain_order="left"
    )
    true = {
        WRITES_MOST: (pl.col("contribution_rank") == 1) & (own > 0),
        WRITES_TOO: (pl.col("contribution_rank") > 1) & (own >= ALSO_WRITES * most),
        GOES_ALONG: (own <= 0) | (own < ALSO_WRITES * most),
        HOLDS: own < 0,
    }
    is_true = pl.any_horizontal((pl.col("role") == role) & rule for role, rule in true.items())
    return found.select(roles=pl.len().cast(pl.Int64), wrong=(~is_true).fill_null(True).sum().cast(pl.Int64))


_TOKEN = ("study", "token_id")
CONTRACTS = {name: contract_check(table) for name, table in ACROSS_MODELS_TABLES.items()}
VALUES = Check(
    name="across_models_values",
    asset=ASSET,
    promise="Every study is accounted for, and what is said of ranks and agreement is true of the rows.",
    sentences={
        "studies": [
            none_of("every study of the deployment is listed", "absent", "studies absent", of="studies"),
            none_of("every study that is not compared says why", "silent", "studies without a reason", of="studies"),
            none_of("every compared study says something of every token", "unfilled", "cells missing", of="cells"),
        ],
        "neurons": [
            none_of("a neuron has a place exactly where it has a value", "torn", "neurons torn", of="neurons", by=_TOKEN),
            none_of("a better value never has a worse place", "turned", "neurons out of order", of="neurons", by=_TOKEN),
        ],
        "agreements": [
            none_of(
                "where measures agree on a neuron, it is first by exactly that many of them", "wrong", "agreements wrong", of="agreements"
            )
        ],
        "roles": [none_of("the role of a best predictor is that of its contribution", "wrong", "roles wrong", of="roles")],
    },
)
CHECKS = (*CONTRACTS.values(), VALUES)
