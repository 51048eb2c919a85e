"""The tables of `across_models`: for each token, each model's best neurons by every line of evidence, side by side.

Frames in, frames out. Four measures rank every neuron of a model: congruence (what its weights write; of a gated neuron by size, for
its sign is a convention), AUROC (where it is active, or where it is not: the separation), contribution (what it adds to the token's
logit where the token is predicted, less what it adds elsewhere) and patching (what it causes on a prompt whose answer is the token). A
neuron is best by a measure if none is above it and the measure speaks for it at all: separation above one half, the others above 0.
Ablation over the corpus, which is run for few neurons of a model, is shown beside them and does not vote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from assets.contracts import ACROSS_MODELS_NEURONS, ACROSS_MODELS_TOKENS, conform
from assets.statistics.writing_roles import writing_role

FIRST_TOKEN = " an"  # the published one: every list of tokens starts with it
BEST = 3  # neurons shown by each measure
MEASURES = {
    "congruence": 0.0,
    "separation": 0.5,
    "contribution": 0.0,
    "improvement": 0.0,
}  # column -> value above which it speaks for the neuron
COMPARED, NOT_TRACKED, NO_SUCH_TOKEN = "compared", "not tracked", "no such token"
ABLATION, ABLATED_AT, ABLATION_MEASURE = "mean", ("predicted", "next_token"), "log_probability"
PATCHED_AT = "last"  # where the token is predicted, as for AUROC and ablation

_NEURON = ["token_id", "layer", "neuron"]


@dataclass(frozen=True)
class StudyTables:
    """Published tables of one study by contract name: those of TABLES_READ. `is_gated`: the sign of a neuron is a convention."""

    study: str
    tables: Mapping[str, pl.DataFrame]
    is_gated: bool


TABLES_READ = (
    "tracked_tokens",
    "token_counts",
    "token_neuron_scores",
    "contributions",
    "congruence_tracked_tokens",
    "prompt_predictions",
    "neuron_patching",
    "neuron_ablation",
)


def ranked_neurons(found: StudyTables) -> pl.DataFrame:
    """Every neuron of the model for every tracked token: the columns of across_models_neurons, all rows, in no order."""
    tables, written = found.tables, pl.col("congruence").cast(pl.Float64)
    congruence = tables["congruence_tracked_tokens"].filter(convention="logits", side="output")
    ablated = tables["neuron_ablation"].filter(pl.col("positions").is_in(ABLATED_AT), ablation=ABLATION, measure=ABLATION_MEASURE)
    ablation_columns = {
        "ablation_effect": "effect", "ablation_low": "ci_low", "ablation_high": "ci_high", "ablation_p_value": "p_value",
        "ablation_positions": "position_count",
    }  # fmt: skip
    together = (
        congruence.select(*_NEURON, "token", written.abs() if found.is_gated else written)
        .join(tables["token_neuron_scores"].select(*_NEURON, "auroc", "direction", "separation"), on=_NEURON, how="left")
        .join(tables["contributions"].select(*_NEURON, "contribution"), on=_NEURON, how="left")
        .join(_improvements(tables), on=_NEURON, how="left")
        .join(ablated.select(*_NEURON, **{name: pl.col(column) for name, column in ablation_columns.items()}), on=_NEURON, how="left")
    )
    ranks = {f"{measure}_rank": _rank(pl.col(measure)) for measure in MEASURES}
    return together.with_columns(study=pl.lit(found.study), **ranks, ablation_rank=_rank(-pl.col("ablation_effect")))


def best_neurons(ranked: pl.DataFrame, best: int = BEST) -> pl.DataFrame:
    """The table `across_models_neurons` of one study, from ranked_neurons: the first `best` by any measure, ablation included.

    Of equal neurons the lower comes first. A neuron for which a measure does not speak is not among its best.
    """
    speaks = {**{f"{name}_rank": pl.col(name) > least for name, least in MEASURES.items()}, "ablation_rank": pl.col("ablation_effect") < 0}
    chosen = [
        ranked.filter(condition).sort("token_id", rank, "layer", "neuron").group_by("token_id", maintain_order=True).head(best)
        for rank, condition in speaks.items()
    ]
    names = ACROSS_MODELS_NEURONS.schema.names()
    frame = pl.concat([part.select(names) for part in chosen]).unique(subset=_NEURON)
    return conform(ACROSS_MODELS_NEURONS, frame.sort("token_id", "congruence_rank", "layer", "neuron"))


def compared_tokens(found: StudyTables, ranked: pl.DataFrame, tokens: Sequence[str]) -> pl.DataFrame:
    """The table `across_models_tokens` of one study: one row per tracked entry, and one for each other text of `tokens`."""
    tables = found.tables
    tracked = tables["tracked_tokens"].select("token_id", "token")
    counted = tracked.join(tables["token_counts"].select("token_id", "predictions"), on="token_id", how="left", maintain_order="left")
    compared = (
        counted.join(_prompts(tables), on="token_id", how="left", maintain_order="left")
        .join(_agreement(ranked), on="token_id", how="left", maintain_order="left")
        .join(_predictor_roles(ranked), on="token_id", how="left", maintain_order="left")
        .with_columns(pl.col("prompts").fill_null(""), state=pl.lit(COMPARED))
    )
    others = [token for token in tokens if token not in tracked["token"].to_list()]
    vocabulary = tables["token_counts"].filter(pl.col("token").is_in(others))["token"].to_list()
    absent = pl.DataFrame(
        {"token": others, "state": [NOT_TRACKED if token in vocabulary else NO_SUCH_TOKEN for token in others]},
        schema={"token": pl.String, "state": pl.String},
    )
    both = pl.concat([compared, absent], how="diagonal").with_columns(study=pl.lit(found.study))
    return conform(ACROSS_MODELS_TOKENS, both)


def tokens_in_order(tracked: Mapping[str, Sequence[str]]) -> list[str]:
    """Every tracked text of all studies (study -> texts): FIRST_TOKEN, then those of most studies, then as the studies list them."""
    lists = [list(dict.fromkeys(tokens)) for tokens in tracked.values()]
    every = list(dict.fromkeys(token for tokens in lists for token in tokens))
    return sorted(every, key=lambda token: (token != FIRST_TOKEN, -sum(token in tokens for tokens in lists)))  # sorted is stable


def _rank(value: pl.Expr) -> pl.Expr:
    return value.rank("min", descending=True).over("token_id").cast(pl.Int32)


def _answers(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """prompt, token_id: the answer of each prompt that was patched."""
    patched = tables["neuron_patching"].select("prompt").unique()
    answers = tables["prompt_predictions"].filter(variant="clean", role="answer").select("prompt", "token_id")
    return answers.join(patched, on="prompt", how="semi", maintain_order="left")


def _prompts(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    return _answers(tables).group_by("token_id", maintain_order=True).agg(prompts=pl.col("prompt").str.join(", "))


def _improvements(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """token_id, layer, neuron, improvement: mean over the prompts whose answer is the token."""
    patched = tables["neuron_patching"].filter(positions=PATCHED_AT)
    return patched.join(_answers(tables), on="prompt").group_by(_NEURON).agg(pl.col("improvement").cast(pl.Float64).mean())


def _agreement(ranked: pl.DataFrame) -> pl.DataFrame:
    """token_id, measures, agreeing, layer, neuron."""
    is_best = [((pl.col(f"{name}_rank") == 1) & (pl.col(name) > least)).fill_null(False) for name, least in MEASURES.items()]
    votes = ranked.select(*_NEURON, *MEASURES, agreeing=pl.sum_horizontal(part.cast(pl.Int32) for part in is_best))
    measures = pl.sum_horizontal(pl.col(name).is_not_null().any().cast(pl.Int32) for name in MEASURES)
    most = votes.sort("token_id", "agreeing", "layer", "neuron", descending=[False, True, False, False])
    agreed = pl.col("agreeing") >= 2
    return (
        most.group_by("token_id", maintain_order=True)
        .agg(measures=measures, agreeing=pl.col("agreeing").first(), layer=pl.col("layer").first(), neuron=pl.col("neuron").first())
        .with_columns(pl.when(agreed).then(pl.col("layer")).alias("layer"), pl.when(agreed).then(pl.col("neuron")).alias("neuron"))
    )


def _predictor_roles(ranked: pl.DataFrame) -> pl.DataFrame:
    """token_id, predictor_role: of tokens that have a best predictor, of equals the lowest, and contributions."""
    ends = ranked.group_by("token_id").agg(most=pl.col("contribution").max(), least=pl.col("contribution").min())
    is_best = (pl.col("separation_rank") == 1) & (pl.col("separation") > MEASURES["separation"]) & pl.col("contribution").is_not_null()
    best = ranked.filter(is_best).sort("token_id", "layer", "neuron").group_by("token_id", maintain_order=True).first()
    rows = best.join(ends, on="token_id", maintain_order="left").select("token_id", "contribution", "most", "least")
    told = [(token_id, writing_role(own, most, least)) for token_id, own, most, least in rows.iter_rows()]
    return pl.DataFrame(told, schema={"token_id": pl.Int32, "predictor_role": pl.String}, orient="row")
