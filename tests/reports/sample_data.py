"""A small study with realistic numbers and hostile text, made from a seed: what the tests of the report read.

Three layers of 64 neurons and 420 tokens. Layer 1 neuron 17 is planted to predict " an", to write it, and to decide the prompt. Some
tokens and documents try to run as HTML, as a plotly tag or as a template; showing them as text is what the site is tested for.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from assets.ablation.false_discoveries import with_q_values
from assets.ablation.p_values import p_values
from assets.contracts import TABLES, conform
from assets.counting.histograms import ActivationBins, Histograms
from assets.counting.kept_positions import KeptRows, chosen, quotas, row_tensors
from assets.probes.neuron_behaviour import neuron_behaviour
from assets.probes.sparse_probes import sparse_probes
from assets.statistics.candidates import studied_pairs
from assets.statistics.neuron_statistics import neuron_statistics
from assets.statistics.proportion_curves import proportion_curves
from assets.statistics.token_counts import token_counts
from assets.statistics.token_neuron_scores import token_neuron_scores
from assets.study import Study
from reports.report_data import ReportData
from tests.candidate_choice import candidates_of
from tests.reports.sample_atlas import atlas_tables

LAYERS, NEURONS, VOCABULARY, POSITIONS, BINS = 3, 64, 420, 24_000, 80
HEADS, BEST_HEAD = 4, (1, 2, 8)  # layer, head and position of the head that carries the fruit
AN, A, SCRIPT_TOKEN, NEWLINE, NEVER = 11, 12, 3, 4, 13
PLANTED = (1, 17)

HOSTILE = [
    "",
    " ",
    "\t",
    "</script><img src=x onerror=\"window.hacked='token'\">",
    "\n",
    "<b>bold</b>",
    "<br>",
    "\u202egnp.exe",
    "<a href=\"javascript:window.hacked='link'\">x</a>",
    "{{ 7 * 7 }}",
    "%{x}",
]
NAMED = [
    *HOSTILE,
    " an",
    " a",
    " never",
    "$ink",
    "$x^2$",
    "&amp;",
    "&lt;i&gt;",
    "'\"`",
    " apple",
    " lemon",
    " pear",
    " tree",
    " picked",
    " and",
    "I",
    " climbed",
    " up",
    " the",
    ".",
    "<sub>2</sub>",
    "\u2028",
    "é",
    "日本",
    "\x00",
    "\ufeff",
    "<!--",
    "-->",
    "]]>",
    " An",
    "An",
    " orchard",
    " two",
    " another",
]

DOCUMENT = [
    " the",
    " orchard",
    "<script>window.hacked='document'</script>",
    "\n",
    " and",
    " picked",
    " an",
    " apple",
    ".",
    "</bdi><svg onload=window.hacked=1>",
]


def texts() -> list[str]:
    """The text of every vocabulary entry."""
    return NAMED + [f" word{entry}" for entry in range(len(NAMED), VOCABULARY)]


def study(**changes: object) -> Study:
    """The sample study; `changes` replace its fields."""
    fields: dict[str, object] = {
        "name": "orchard-sample",
        "folder": Path("."),
        "description": "A sample study of an orchard model",
        "question": 'Which neuron predicts " an"?',
        "model": {"id": "models/<orchard>", "revision": "main"},
        "corpus": {"files": ["corpus.jsonl"], "context_length": 64},
        "tokens": [" an", " a", SCRIPT_TOKEN, NEWLINE, " never"],
        "neurons": [[1, 17], [2, 30]],
        "prompts": [
            {
                "name": "apple",
                "text": "I climbed up the apple tree and picked",
                "corrupt": "I climbed up the lemon tree and picked",
                "answer": " an",
                "wrong_answer": " a",
            },
            {"name": "plain", "text": "the <script>orchard</script> and", "answer": " an", "wrong_answer": " a"},
        ],
        "prompt_sets": [
            {
                "name": "fruits",
                "text": "I climbed <i>up</i> the {fruit} tree and picked",
                "answer": " an",
                "fillers": ["apple", "<script>window.hacked='filler'</script>", "orange"],
                "wrong_answer": " a",
                "corrupt_fillers": ["lemon", "pear tree"],
            }
        ],
        "best_neurons": 3,
        "examples": 4,
    }
    return Study.model_validate({**fields, **changes})


def report_data(seed: int = 0, **study_changes: object) -> ReportData:
    """The whole sample; the same seed gives the same tables."""
    generator = np.random.default_rng(seed)
    tables = {
        **_measured(generator),
        **_screen(np.random.default_rng(seed + 2)),
        **_congruence(generator),
        **_prompts(generator),
        **_prompt_sets(),
        **_ablation(np.random.default_rng(seed + 1)),
        **_records(),
        "corpus_domains": pl.DataFrame({"domain": [0, 1], "name": ["<b>tales</b>.jsonl", "other"], "documents": [600, 212]}),
        "corpus_files": pl.DataFrame(
            {"file": [0, 1], "name": ["<b>tales</b>.jsonl", "other.csv.gz"], "first_row": [0, 600], "rows": [600, 220]}
        ),
    }
    return ReportData(
        study=study(**study_changes),
        tables={name: conform(TABLES[name], frame) for name, frame in tables.items()},
        provenance=_provenance(),
        facts={
            "model": "models/<orchard>",
            "revision": "main",
            "commit": "3f2a" * 10,
            "architecture": "GPT2LMHeadModel",
            "layers": LAYERS,
            "neurons": NEURONS,
            "vocabulary": VOCABULARY,
            "dtype": "float32",
            "device": "cpu",
            "corpus": "corpus.jsonl",
            "corpus_commit": None,
            "documents": 812,
            "windows": 812,
            "positions": POSITIONS,
            "shards": 4,
            "seconds": 83.4,
            "counting_seconds": 41.2,
            "bytes": 18_400_000,
            "positions_per_second": 21532.2,
            "context_length": 64,
            "finished_at": "2026-03-07T04:05:06+00:00",
            "version": "0.1.0",
            "torch": "2.13.0",
        },
    )


def empty_data(**study_changes: object) -> ReportData:
    """A study of which nothing was computed: every table empty."""
    return ReportData(
        study=study(**study_changes), tables={name: pl.DataFrame(schema=TABLES[name].schema) for name in TABLES if name in ALL}
    )


ALL = tuple(name for name in TABLES if name not in ("corpus_documents", "token_windows"))
TRACKED = (AN, A, SCRIPT_TOKEN, NEWLINE, NEVER)


def _measured(generator: np.random.Generator) -> dict[str, pl.DataFrame]:
    """Counts, statistics, scores and curves of simulated activations [layer, neuron, position]."""
    weights = 1 / np.arange(1, VOCABULARY + 1) ** 0.8
    predictions = generator.choice(VOCABULARY, POSITIONS, p=weights / weights.sum())
    for token, share in ((AN, 0.03), (A, 0.08), (SCRIPT_TOKEN, 0.004), (NEWLINE, 0.02)):
        predictions[generator.random(POSITIONS) < share] = token
    predictions[predictions == NEVER] = AN
    raw = generator.normal(-0.6, 0.9, (LAYERS, NEURONS, POSITIONS)).astype(np.float32)
    raw[PLANTED] += np.where(predictions == AN, generator.normal(4.6, 1.5, POSITIONS), 0)
    raw[2, 9] += np.where(predictions == AN, generator.normal(1.6, 0.8, POSITIONS), 0)
    raw[0, 5] += np.where(predictions == A, generator.normal(2.4, 1.1, POSITIONS), 0)
    raw[2, 30] += np.where(predictions == NEWLINE, 3.2, 0)
    raw[1, 44] += np.where(predictions == SCRIPT_TOKEN, generator.normal(2.8, 0.9, POSITIONS), 0)
    activations = raw / (1 + np.exp(-1.702 * raw))  # close to GELU
    activations[0, 63] = -0.01  # a dead neuron
    activations[PLANTED][:3] = [15.2, 16.0, 15.4]
    bins = ActivationBins(np.full((LAYERS, NEURONS), 5, np.float32), np.full((LAYERS, NEURONS), -5, np.int32), BINS)
    histograms = _histograms(activations.astype(np.float32), predictions, bins, generator)
    scores = token_neuron_scores(histograms, bins, texts(), min_count=20)
    written = _contributions(np.random.default_rng(3), scores)
    chosen = candidates_of(scores, TRACKED, [(1, 17), (2, 30)], best=3, contributions=written["contributions"])
    pairs = studied_pairs(chosen)
    return {
        **written,
        **_kept(activations, predictions, histograms, pairs),
        "candidates": chosen.with_columns(token=pl.col("token_id").replace_strict(dict(enumerate(texts())), return_dtype=pl.String)),
        "token_counts": token_counts(histograms, texts()),
        "neuron_statistics": neuron_statistics(histograms, is_gated=False),
        "token_neuron_scores": scores,
        "proportion_curves": proportion_curves(histograms, bins, pairs, texts(), min_count=20),
        "activation_bins": bins.to_frame(),
        **atlas_tables(histograms.tensors["count"], texts(), PLANTED, AN),
        "neuron_contexts": _contexts(pairs.select("layer", "neuron").unique().sort("layer", "neuron"), generator),
    }


def _kept(activations: np.ndarray, predictions: np.ndarray, histograms: Histograms, pairs: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Probes and bands at 1,024 kept positions, forty to a document; the stream holds what neurons hold."""
    places = np.arange(POSITIONS)
    rows = KeptRows.of(places // 40, np.zeros(POSITIONS), places % 40 + 1, predictions, np.roll(predictions, 1))
    kept, is_background = chosen(rows, quotas(1024, TRACKED, ("next_token",)))
    tensors = dict(histograms.tensors) | row_tensors(rows.at(kept), is_background, 1024)
    values = {name: np.zeros((1024, *shape), dtype) for name, shape, dtype in (("kept_activations", (LAYERS, NEURONS), np.float16), ("kept_residual", (NEURONS,), np.float32))}  # fmt: skip
    values["kept_activations"][: kept.size] = activations[..., kept].transpose(2, 0, 1)
    values["kept_residual"][: kept.size] = activations[1][:, kept].T
    counted = {"next_tokens": np.bincount(predictions, minlength=VOCABULARY), "next_token_count": np.zeros(0)}
    whole = Histograms(tensors | values | counted, POSITIONS, TRACKED)
    named = dict(enumerate(texts()))
    probes = sparse_probes(whole, named)
    studied = pairs.select("layer", "neuron").unique().sort("layer", "neuron").rows()
    behaviour = neuron_behaviour(whole, studied, TRACKED, named)
    return {
        "sparse_probes": probes.probes,
        "probe_neurons": probes.neurons,
        "neuron_bands": behaviour.bands,
        "neuron_band_tokens": behaviour.tokens,
    }


def _contributions(generator: np.random.Generator, scores: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """What neurons write: the planted one most of " an", neuron 2.9 second; a predictor of " a", 0.5, that writes against it."""
    rows = scores.filter(pl.col("token_id") != NEVER).select("token_id", "token", "layer", "neuron")
    large = {(AN, *PLANTED): 2.4, (AN, 2, 9): 0.31, (A, 0, 5): -1.7, (A, 2, 11): 0.8, (NEWLINE, 2, 30): 1.1, (SCRIPT_TOKEN, 1, 44): 0.6}
    size = [
        large.get(key, small)
        for key, small in zip(rows.select("token_id", "layer", "neuron").rows(), generator.normal(0, 0.04, rows.height), strict=True)
    ]
    there = pl.Series(size) * 1.02
    every = rows.with_columns(
        congruence=pl.Series(np.abs(size) * 0.6 + 0.01, dtype=pl.Float32),
        contribution_where_predicted=there, contribution_elsewhere=there - pl.Series(size), contribution=there - (there - pl.Series(size)),
        contribution_low=pl.Series(size) - 0.1, contribution_high=pl.Series(size) + 0.1,
    )  # fmt: skip
    others = pl.DataFrame(
        [(token, texts()[token], layer, neuron) for token in range(60) if token not in TRACKED for layer in range(LAYERS) for neuron in range(4)],
        schema=rows.schema, orient="row",
    )  # fmt: skip
    others = others.with_columns(
        congruence=pl.lit(0.2, pl.Float32), contribution_elsewhere=pl.lit(0.0), contribution=pl.Series(generator.normal(0, 0.1, others.height)),
    ).with_columns(contribution_where_predicted=pl.col("contribution"))  # fmt: skip
    both = pl.concat([every, others], how="diagonal")
    end = pl.when(pl.col("contribution") > 0).then(pl.lit("writes")).otherwise(pl.lit("writes_against"))
    screen = (
        both.with_columns(end=end, size=pl.col("contribution").abs(), predictions=pl.lit(300, pl.Int64))
        .sort("token_id", "end", "size", descending=[False, False, True])
        .group_by("token_id", "end", maintain_order=True)
        .head(10)
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("token_id", "end"))
        .select(TABLES["contribution_screen"].schema.names())
    )
    return {"contributions": every, "contribution_screen": screen}


def _screen(generator: np.random.Generator) -> dict[str, pl.DataFrame]:
    """Sixty tokens screened, the hostile ones among them; the planted neuron first for " an"; four pairs proposed."""
    vocabulary = texts()
    screen, chosen = [], []
    for place in range(60):
        token = (*TRACKED, *(entry for entry in range(60) if entry not in TRACKED))[place]
        chosen.append((place + 1, token, vocabulary[token], place < len(TRACKED), 600 - 5 * place, 900 - 3 * place))
        if token == NEVER:
            continue
        neurons = generator.choice(LAYERS * NEURONS, 10, replace=False)
        for rank in range(1, 11):
            layer, neuron = PLANTED if (token, rank) == (AN, 1) else divmod(int(neurons[rank - 1]), NEURONS)
            share = (0.9 if token == AN else 0.5) / rank
            screen.append(
                (token, vocabulary[token], 600 - 5 * place, rank, layer, neuron, 3.5 / rank, 0.1, 0.4, 0.3, 5.5 / rank, share, 0.004 * rank)
            )
    proposed = [
        (
            rank,
            token,
            vocabulary[token],
            is_named,
            300,
            layer,
            neuron,
            5.0 / rank,
            -1 if rank == 2 else 1,
            None if rank == 4 else (9.0 - rank) * (-1 if rank == 2 else 1),
            0.8 - 0.1 * rank,
        )
        for rank, (token, is_named, layer, neuron) in enumerate(
            [(19, True, 0, 5), (8, True, 2, 30), (2, False, 0, 6), (31, True, 0, 5)], start=1
        )
    ]
    rows = (("screened_tokens", chosen), ("token_neuron_screen", screen), ("proposed_pairs", proposed))
    return {name: pl.DataFrame(part, schema=TABLES[name].schema, orient="row") for name, part in rows}


def _histograms(activations: np.ndarray, predictions: np.ndarray, bins: ActivationBins, generator: np.random.Generator) -> Histograms:
    levels = np.floor(activations * 5).astype(np.int64) + 5  # 0 is the lowest bin

    def counted(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat = np.clip(chosen, -1, BINS) + 1
        counts = np.stack([[np.bincount(row, minlength=BINS + 2) for row in layer] for layer in flat])
        return counts[..., 1:-1], np.stack([counts[..., 0], counts[..., -1], np.zeros_like(counts[..., 0])], axis=-1)

    count, outside = counted(levels)
    by_token = [counted(levels[..., predictions == token]) for token in TRACKED]
    mean = activations.mean(-1, dtype=np.float64)
    centred = activations - mean[..., None]
    shifted = np.roll(predictions, 1)
    return Histograms(
        {
            "count": count,
            "outside": outside,
            "top_prediction_count": np.stack([part for part, _ in by_token]),
            "top_prediction_outside": np.stack([part for _, part in by_token]),
            "mean": mean,
            **{f"moment_{power}": (centred**power).sum(-1) for power in (2, 3, 4)},
            "minimum": activations.min(-1),
            "maximum": activations.max(-1),
            "above_zero": (activations > 0).sum(-1),
            "occurrences": np.bincount(shifted, minlength=VOCABULARY) + generator.integers(0, 9, VOCABULARY),
            "predictions": np.bincount(predictions, minlength=VOCABULARY),
            "correct_predictions": np.bincount(predictions, minlength=VOCABULARY) // 2,
        },
        POSITIONS,
        TRACKED,
    )


def _contexts(neurons: pl.DataFrame, generator: np.random.Generator) -> pl.DataFrame:
    """Four top, four bottom and four random contexts a neuron, of words that include hostile ones."""
    rows = []
    vocabulary = texts()
    for layer, neuron in neurons.iter_rows():
        for side in ("top", "bottom", "random"):
            for rank in range(1, 5):
                length = int(generator.integers(12, 40))
                words = [
                    DOCUMENT[entry] if entry < len(DOCUMENT) else vocabulary[19 + entry % 20] for entry in generator.integers(0, 40, length)
                ]
                values = generator.normal(0.1, 0.5, length)
                peak = int(generator.integers(4, length))
                values[peak] = {"top": 9.0 - rank, "bottom": -0.17, "random": 0.2 * rank}[side] + generator.random() * 0.01
                for position, (word, value) in enumerate(zip(words, values, strict=True)):
                    prediction = AN if position == peak else int(generator.integers(0, VOCABULARY))
                    rows.append(
                        (
                            layer,
                            neuron,
                            side,
                            rank,
                            100 * rank + neuron,
                            0,
                            peak,
                            values[peak],
                            position,
                            0,
                            word,
                            value,
                            prediction,
                            vocabulary[prediction],
                        )
                    )
    return pl.DataFrame(rows, schema=TABLES["neuron_contexts"].schema, orient="row")


def _congruence(generator: np.random.Generator) -> dict[str, pl.DataFrame]:
    """All congruence tables from one random matrix a convention and side."""
    own = (
        "congruence_tokens",
        "congruence_neurons",
        "congruence_tracked_tokens",
        "congruence_neurons_of_interest",
        "congruence_mutual_pairs",
    )
    frames: dict[str, list[pl.DataFrame]] = {name: [] for name in own}
    beyond: dict[str, pl.DataFrame] = {}
    for convention in ("published", "logits"):
        for side in ("output", "input"):
            matrix = generator.normal(0, 0.22, (LAYERS * NEURONS, VOCABULARY)).astype(np.float32)
            planted = PLANTED[0] * NEURONS + PLANTED[1]
            if side == "output":
                matrix[planted, [AN, 39, 40]] = [2.75, 2.24, 2.1]
                matrix[2 * NEURONS + 60] += np.linspace(0.2, 1.6, VOCABULARY, dtype=np.float32)  # a hub
                matrix[2 * NEURONS + 60, AN] = 0.4
                matrix[30, 7] = 3.0
            long = _long(matrix).with_columns(convention=pl.lit(convention), side=pl.lit(side))
            tracked = long.filter(pl.col("token_id").is_in(TRACKED)).sort("token_id", "layer", "neuron")
            is_corrected = (convention, side) == ("logits", "output")
            frames["congruence_tracked_tokens"].append(
                tracked.with_columns(corrected=pl.col("congruence") * 4 if is_corrected else pl.lit(None, pl.Float32))
            )
            if is_corrected:
                beyond = _beyond_hubs(matrix)
            frames["congruence_neurons_of_interest"].append(long.filter(_is_one_of([(1, 17), (2, 30)])).sort("layer", "neuron", "token_id"))
            if side == "output":
                tokens = _ranked(long, "token_id", 5, descending=True)
                tops = _ranked(long, ["layer", "neuron"], 5, descending=True).with_columns(end=pl.lit("top"))
                bottoms = _ranked(long, ["layer", "neuron"], 5, descending=False).with_columns(end=pl.lit("bottom"))
                frames["congruence_tokens"].append(tokens)
                frames["congruence_neurons"].append(pl.concat([tops, bottoms]))
                best = tops.filter(pl.col("rank") == 1).select("layer", "neuron", "token_id", neuron_gap="gap")
                pairs = tokens.filter(pl.col("rank") == 1).rename({"gap": "token_gap"}).join(best, on=["layer", "neuron", "token_id"])
                frames["congruence_mutual_pairs"].append(
                    pairs.with_columns(score=pl.col("token_gap") * pl.col("neuron_gap")).sort("token_id")
                )
    reads = pl.concat(
        _ranked(long, ["layer", "neuron"], 3, descending=end == "top").with_columns(end=pl.lit(end)) for end in ("top", "bottom")
    )
    frames["congruence_reads"] = [reads]
    return beyond | {name: pl.concat([part.select(TABLES[name].schema.names()) for part in parts]) for name, parts in frames.items()}


def _beyond_hubs(matrix: np.ndarray) -> dict[str, pl.DataFrame]:
    """Strongest neurons, pairs and hubs of a matrix [neuron, token], and how many of them contributions name."""
    standard = (matrix - matrix.mean(1, keepdims=True)) / matrix.std(1, keepdims=True)
    corrected, entries, words = standard - standard.mean(0), np.arange(VOCABULARY), pl.Series(texts())
    chosen, hubs = [], pl.DataFrame({"number": np.arange(LAYERS * NEURONS)})
    for measure, values in (("plain", matrix), ("corrected", corrected)):
        first, ordered = values.argmax(0), np.sort(values, axis=0)
        neuron_gap = np.sort(values, axis=1)[first, -1] - np.sort(values, axis=1)[first, -2]
        frame = pl.DataFrame({"token_id": entries, "token": words, "number": first, "congruence": matrix[first, entries]})
        chosen.append(
            frame.with_columns(
                measure=pl.lit(measure), corrected=pl.Series(corrected[first, entries]), gap=pl.Series(ordered[-1] - ordered[-2]),
                is_mutual=pl.Series(values[first].argmax(1) == entries), neuron_gap=pl.Series(neuron_gap),
            )
        )  # fmt: skip
        counts = pl.Series(np.bincount(first, minlength=len(matrix)).astype(np.int64))
        rank = counts.rank("ordinal", descending=True)
        hubs = hubs.with_columns(
            rank.alias(f"{measure}_rank"), counts.alias(f"{measure}_tokens"), (counts / VOCABULARY).alias(f"{measure}_share")
        )
    place = {"layer": (pl.col("number") // NEURONS).cast(pl.Int32), "neuron": (pl.col("number") % NEURONS).cast(pl.Int32)}
    strongest = pl.concat(chosen).with_columns(**place)
    pairs = strongest.filter(pl.col("measure") == "corrected", pl.col("is_mutual")).rename({"gap": "token_gap"})
    pairs = pairs.with_columns(score=pl.col("token_gap") * pl.col("neuron_gap"), is_mutual_before=pl.col("token_id") % 2 == 0)
    shown = hubs.filter((pl.col("plain_rank") <= 10) | (pl.col("corrected_rank") <= 10)).with_columns(**place)
    agreement = [
        (measure, kind, 400, 40, 12, 20, 3, 6) for measure in ("published", "plain", "corrected") for kind in ("strongest", "mutual")
    ]
    frames = {"strongest_neurons": strongest, "corrected_mutual_pairs": pairs, "congruence_hubs": shown}
    return {name: frame.select(TABLES[name].schema.names()) for name, frame in frames.items()} | {
        "congruence_agreement": pl.DataFrame(agreement, schema=TABLES["congruence_agreement"].schema, orient="row")
    }


def _long(matrix: np.ndarray) -> pl.DataFrame:
    layer, neuron, token = (index.reshape(-1) for index in np.indices((LAYERS, NEURONS, VOCABULARY), dtype=np.int32))
    return pl.DataFrame(
        {"layer": layer, "neuron": neuron, "token_id": token, "token": pl.Series(texts()).gather(token), "congruence": matrix.reshape(-1)}
    )


def _is_one_of(neurons: list[tuple[int, int]]) -> pl.Expr:
    return pl.any_horizontal([(pl.col("layer") == layer) & (pl.col("neuron") == neuron) for layer, neuron in neurons])


def _ranked(long: pl.DataFrame, over: str | list[str], best: int, descending: bool) -> pl.DataFrame:
    ordered = long.sort("congruence", "token_id", "layer", "neuron", descending=[descending, False, False, False])
    ranked = ordered.with_columns(
        rank=pl.int_range(1, pl.len() + 1).over(over), gap=(pl.col("congruence") - pl.col("congruence").shift(-1)).abs().over(over)
    )
    return ranked.filter(pl.col("rank") <= best).sort([*([over] if isinstance(over, str) else over), "rank"])


def _prompts(generator: np.random.Generator) -> dict[str, pl.DataFrame]:
    words = ["<|endoftext|>", "I", " climbed", " up", " the", " apple", " tree", " and", " picked"]
    tokens = {
        ("apple", "clean"): words,
        ("apple", "corrupt"): [" lemon" if word == " apple" else word for word in words],
        ("plain", "clean"): ["<|endoftext|>", "the", " <", "script", ">", "orchard", "</script>", " and"],
    }
    rows = [(p, v, place, sum(map(ord, text)) % 400, text) for (p, v), line in tokens.items() for place, text in enumerate(line)]
    predictions = []
    for (prompt, variant), first in zip(tokens, (AN, A, SCRIPT_TOKEN), strict=True):
        order = [first, *(entry for entry in (AN, A, 42, 43, SCRIPT_TOKEN, 20, 5) if entry != first)]
        for rank, token in enumerate(order, start=1):
            role = "answer" if token == AN else "wrong_answer" if token == A else "other"
            predictions.append(
                (prompt, variant, rank, token, texts()[token], 20 - 1.4 * rank, 18 - 1.4 * rank, 0.65 * 0.35 ** (rank - 1), role)
            )
    lens = [
        (prompt, variant, scale, layer, point, 10.0, 10.0 - d, d)
        for prompt, variant in tokens
        for scale in ("own", "final", "published")
        for layer in range(LAYERS)
        for place, point in enumerate(("before", "attention", "mlp"))
        for d in [(-0.5 + (layer * 3 + place) * (0.3 if variant == "clean" else -0.25)) * (1.0 if scale == "own" else 0.4)]
    ]
    patching = [
        ("apple", component, layer, head, position, text, 0.5, float(value))
        for component, head in (("residual", None), ("attention", None), ("mlp", None), *(("head", head) for head in range(HEADS)))
        for layer in range(LAYERS)
        for position, text in enumerate(words)
        for value in [
            generator.normal(0, 0.03)
            + (0.95 if position == 5 and layer < 2 else 0.9 if position == 8 and layer == 2 else 0) * (component == "residual")
            + 0.8 * ((layer, head, position) == BEST_HEAD)
        ]
    ]
    neurons = [
        ("apple", positions, layer, neuron, 4.9 if (layer, neuron) == PLANTED else 0.1, 0.2, 0.4, value)
        for positions in ("all", "last")
        for layer in range(LAYERS)
        for neuron in range(NEURONS)
        for value in [0.5032 if (layer, neuron) == PLANTED else float(generator.normal(0, 0.006))]
    ]
    by_neuron = {(row[2], row[3]): row[-1] for row in neurons if row[1] == "last"}
    restored = {PLANTED: 0.5032, (2, 9): 0.7532, (0, 5): 0.8132}  # with those before
    sets = [
        ("apple", size, *neuron, by_neuron[neuron], share, share - before, size < 3)
        for size, (neuron, share, before) in enumerate(zip(restored, restored.values(), [0, *restored.values()], strict=False), start=1)
    ]
    ways = (True, "all positions", "last position")
    claims = [
        (row, claim, "a post", "neuron_improvement", "Improvement by patching one neuron.", subject, "share", "published", 0.5032, 0.002)
        + (*ways[:2], published, why, ways[2], right, None, verdict)
        for row, (claim, subject, published, why, right, verdict) in enumerate(
            [
                ("Neuron 17 <b>restores</b> half.", "prompt apple, layer 1 neuron 17", 0.5032, None, 0.41, "replicated"),
                ("Neuron 18 restores half.", "prompt apple, layer 1 neuron 18", 0.01, None, 0.02, "not replicated"),
                ("Neuron 892 restores half.", "layer 31 neuron 892", None, "the model has no layer 31", 0.77, "not run"),
            ]
        )
    ]
    contexts = [("", "top contexts"), ("apple", "clean"), ("apple", "corrupt")]
    sources = [("embedding", None, None), *(("head", layer, head) for layer in range(2) for head in range(8)), ("mlp", 0, None)]
    inputs = [
        (*PLANTED, *context, *source, 0.25 * place, 3)
        for context in contexts
        for place, source in enumerate([*sources, ("bias", None, None)])
    ]
    reads = [(*PLANTED, *context, 0, point, 1.5, 3) for context in contexts for point in ("before", "attention", "mlp")]
    at_tokens = [
        (*PLANTED, prompt, variant, place, token_id, text, value, AN if value > 4 else 20, " an" if value > 4 else texts()[20])
        for prompt, variant, place, token_id, text in rows
        for value in [60.0 if place == 0 else 4.9 if (variant, text) == ("clean", " picked") else 0.1 * place - 0.5]
    ]
    screen = [(prompt, positions, layer, neuron, 0.9 * row[-1] + 0.002) for prompt, positions, layer, neuron, *row in neurons]
    return {
        name: pl.DataFrame(part, schema=TABLES[name].schema, orient="row")
        for name, part in (
            ("prompt_tokens", rows),
            ("prompt_predictions", predictions),
            ("logit_lens", lens),
            ("activation_patching", patching),
            ("neuron_patching", neurons),
            ("attribution_patching", screen),
            ("patched_neuron_sets", sets),
            ("prompt_activations", at_tokens),
            ("replication_scorecard", claims),
            ("neuron_inputs", inputs),
            ("neuron_residual_reads", reads),
        )
    }


def _prompt_sets() -> dict[str, pl.DataFrame]:
    """One set of three pairs, of which the last was not patched; over it the planted neuron holds and all others do little."""
    (given,) = study().prompt_sets
    sets = [(given.name, given.text, " an", " a", AN, A, 3, 2, 3, 3, 2)]
    pairs = [
        (
            given.name,
            place,
            filler,
            "lemon",
            given.filled(filler),
            given.filled("lemon"),
            " an",
            " a",
            2.5 - place,
            -1.5,
            place < 2,
            place < 2,
        )
        + ((*PLANTED, 0.5 - 0.25 * place) if place < 2 else (None, None, None))
        for place, filler in enumerate(given.fillers)
    ]
    rows = []
    for layer in range(LAYERS):
        for neuron in range(NEURONS):
            is_planted, other = (layer, neuron) == PLANTED, 0.01 * np.sin(7.0 * layer + neuron)
            median, spread = (0.375, 0.0625) if is_planted else (other, 0.004)
            rows.append(
                (given.name, layer, neuron, 2, median, median - spread, median + spread, 1.0 if is_planted else 0.5 * (other > 0.0099))
            )
    made: dict[str, list[Any]] = {"prompt_sets": sets, "prompt_set_pairs": pairs, "prompt_set_patching": rows}
    return {name: pl.DataFrame(part, schema=TABLES[name].schema, orient="row") for name, part in made.items()}


def _ablation(generator: np.random.Generator) -> dict[str, pl.DataFrame]:
    """The planted neuron ablated for two tokens, one of which tries to run as HTML; its effect on " an" stands out."""
    effects, controls, prompts = [], [], []
    for token, size in ((AN, -2.5), (SCRIPT_TOKEN, 0.002)):
        for positions in ("predicted", "other"):
            for ablation, factor in (("zero", 1.0), ("mean", 0.9), ("resample", 0.95), ("negation", 2.0)):
                effect = size * factor * (1 if positions == "predicted" else -0.1)
                measured = {
                    "log_probability": effect,
                    "flipped": 0.5,
                    "loss": -effect,
                    "logit": effect,
                    "direct": 0.8 * effect,
                    "mediated": 0.2 * effect,
                }
                others = generator.normal(0, 0.01, (40, 6))
                rare = p_values(np.array(list(measured.values())), others)
                for place, (measure, value) in enumerate(measured.items()):
                    interval = (value - 0.1, value + 0.1) if positions == "predicted" else (None, None)
                    chance = (float(rare.p_value[place]), str(rare.source[place]), 1.0, float(rare.times_largest[place]))
                    counts = (40, 30, 20, 16)
                    effects.append(
                        (token, texts()[token], *PLANTED, positions, ablation, measure, value, *interval, *chance, *counts, value)
                    )
                for control, found in enumerate(others.tolist()):
                    likeness = (0.9 + 0.01 * control, 0.05 + 0.001 * control, 1.15, 0.0625)  # norms and shares above zero
                    controls.append((token, *PLANTED, positions, ablation, control, *likeness, *found))
                if positions == "other":
                    prompts.append(("apple", "clean", "all", *PLANTED, ablation, token, texts()[token], 0.7, 0.1))
    rows = (("neuron_ablation", effects), ("ablation_controls", controls), ("prompt_ablation", prompts))
    made = {name: pl.DataFrame(part, schema=TABLES[name].schema, orient="row") for name, part in rows}
    told = with_q_values(made["neuron_ablation"].drop("q_value")).select(made["neuron_ablation"].columns)
    return made | {"neuron_ablation": told}


def _records() -> dict[str, pl.DataFrame]:
    quality = [
        (
            "activation_histograms",
            "conservation",
            "bins + underflow + overflow + NaN are the counted positions of each neuron",
            "blocking",
            True,
            "0 neurons off",
            "0 of 192",
        ),
        ("activation_histograms", "conservation", "no count is negative", "blocking", True, "at least 0", "smallest 0"),
        (
            "activation_histograms",
            "range",
            "few positions fall above the bins",
            "warning",
            False,
            "at most 0.1 %",
            "0.31 % <script>window.hacked='check'</script>",
        ),
        (
            "model_parity",
            "parity",
            "the top prediction is the one of plain Hugging Face code",
            "blocking",
            True,
            "0 positions differ",
            "0 of 512",
        ),
        ("corpus_documents", "documents", "no document stands in the corpus twice", "warning", True, "0 duplicates", "0"),
    ]
    tracked = [
        (row, given, token, texts()[token])
        for row, (given, token) in enumerate(zip((" an", " a", "3", "4", " never"), TRACKED, strict=True))
    ]
    return {
        "data_quality": pl.DataFrame(quality, schema=TABLES["data_quality"].schema, orient="row"),
        "tracked_tokens": pl.DataFrame(tracked, schema=TABLES["tracked_tokens"].schema, orient="row"),
        "model_snapshot": pl.DataFrame({"file": ["model.safetensors"], "bytes": [2_900_112], "sha256": ["ab" * 32]}),
        "model_parity": pl.DataFrame([(0, 0, 512, 1.2e-5, 24.1, 0, 0, 73_728, 0)], schema=TABLES["model_parity"].schema, orient="row"),
    }


def _provenance() -> list[dict[str, object]]:
    assets = [
        "model_snapshot",
        "tracked_tokens",
        "token_windows",
        "activation_histograms",
        "merged_histograms",
        "token_neuron_scores",
        "atlas",
        "data_quality",
    ]
    return [
        {
            "asset": asset,
            "fingerprint": f"{place:02x}" * 32,
            "code_version": "1",
            "seconds": 1.5 * place,
            "created_at": f"2026-03-0{place + 1}T04:05:06+00:00",
            "bytes": 10_000 * (place + 1),
            "inputs": dict.fromkeys(assets[max(0, place - 2) : place], "cd" * 32),
            "files": {"atlas_examples.parquet": 81_200_000, "atlas_tokens.parquet": 1_600} if asset == "atlas" else {},
        }
        for place, asset in enumerate(assets)
    ]
