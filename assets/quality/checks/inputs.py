"""The checks of what a study starts from: the model predicts what plain code predicts, and there is text to read."""

import polars as pl

from assets.corpus.corpus_domains import OTHER
from assets.quality import table_violations
from assets.quality.check import Check, Frames
from assets.quality.expectations import at_least_one, equal, none_of, unlike

# Largest logit difference over largest logit. The two programs sum in different orders, so they differ by a few roundings: one
# is 6e-8 in float32, 5e-4 in float16 and 4e-3 in bfloat16, and they add up over the layers.
PARITY_TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}


def parity_frames(model_parity: pl.DataFrame, tolerance: float) -> Frames:
    """The model as it is run against plain Hugging Face code. `tolerance` is relative to the largest logit."""
    return {"windows": table_violations.parity(model_parity, tolerance)}


def _largest_difference(windows: pl.DataFrame) -> str:
    if windows.is_empty():
        return "no window compared"
    not_a_number = windows.filter(pl.col("relative_difference") < 0).height
    largest = max(windows["relative_difference"].to_list())
    return f"at most {largest:.2g} of the largest logit in {windows.height} windows" + (
        f"; not a number in {not_a_number}" if not_a_number else ""
    )


def _tolerance(windows: pl.DataFrame) -> str:
    allowed = f"{windows['tolerance'][0]:g}" if windows.height else "a rounding"
    return f"largest difference at most {allowed} of the largest logit"


def corpus_frames(documents: int, duplicates: int, empty: int) -> Frames:
    """The corpus as read: `documents` kept, of which `duplicates` repeat an earlier text; `empty` ones were dropped before."""
    return {"corpus": pl.DataFrame({"documents": [documents], "duplicates": [duplicates], "empty": [empty]})}


def domain_frames(corpus_domains: pl.DataFrame, corpus_documents: pl.LazyFrame) -> Frames:
    """One row per domain of either table: its documents as corpus_domains counts them, and as corpus_documents holds them."""
    held = corpus_documents.group_by("domain").agg(pl.len().cast(pl.Int64).alias("found")).collect()
    both = corpus_domains.select("domain", promised="documents").join(held, on="domain", how="full", coalesce=True).fill_null(0)
    by_size = corpus_domains.filter(pl.col("name") != OTHER)["documents"].is_sorted(descending=True)
    order = pl.DataFrame({"rows": [corpus_domains.height], "disordered": [int(not by_size)]})
    return {"domains": both.sort("domain"), "domain_order": order}


CHECKS = (
    Check(
        name="hugging_face_parity",
        asset="model_parity",
        promise="The model as it is run here predicts what plain Hugging Face code predicts.",
        needs=("model_parity",),
        fields=("model.dtype",),
        count=lambda reading, shard: parity_frames(reading.raw("model_parity"), PARITY_TOLERANCE[reading.study.model.dtype]),
        sentences={
            "windows": [
                at_least_one("positions are compared", "positions", "position"),
                none_of("the top prediction is the same at every position", "prediction_disagreements", "positions differ", of="positions"),
                none_of("logits are the same within rounding", "too_large", "windows", expected=_tolerance, observed=_largest_difference),
                none_of(
                    "the pass predicts what plain code predicts in float32",
                    "float32_prediction_disagreements",
                    "positions differ",
                    of="positions",
                    severity="warning",
                ),
                none_of(
                    "the pass puts activations into the bins that they have in plain float32 code",
                    "float32_bin_disagreements",
                    "activations differ",
                    of="activations",
                    severity="warning",
                ),
            ]
        },
    ),
    Check(
        name="documents",
        asset="corpus_documents",
        promise="There is text to read, and it does not repeat itself.",
        needs=tuple(f"corpus_documents.{fact}" for fact in ("documents", "duplicates", "empty")),
        count=lambda reading, shard: corpus_frames(
            *(reading.fact("corpus_documents", fact) for fact in ("documents", "duplicates", "empty"))
        ),
        sentences={
            "corpus": [
                at_least_one(
                    "there is text to read",
                    "documents",
                    "document",
                    lambda frame: f"{frame['documents'][0]:,} documents ({frame['empty'][0]:,} empty ones dropped)",
                ),
                none_of("no document repeats an earlier one", "duplicates", "documents repeated", of="documents", severity="warning"),
            ]
        },
    ),
    Check(
        name="domains",
        asset="corpus_documents",
        promise="Every document is of one domain that is named, and the largest domains come first.",
        needs=("corpus_domains", "corpus_documents"),
        count=lambda reading, shard: domain_frames(reading.raw("corpus_domains"), reading.scan("corpus_documents")),
        sentences={
            "domains": [
                equal(
                    "a domain has the documents that name it",
                    "found",
                    "promised",
                    lambda frame: f"{frame['promised'].sum():,} documents in {frame.height} domains",
                    unlike("domain"),
                )
            ],
            "domain_order": [none_of("domains are numbered by their documents, the rest last", "disordered", "tables out of order")],
        },
    ),
)
