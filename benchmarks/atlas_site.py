"""Seconds, bytes and milliseconds of the atlas in a report: written from made-up tables of a model's size, then opened in Chromium from disk.

python -m benchmarks.atlas_site [layers neurons vocabulary [examples]]; SmolLM2-135M's sizes unless told otherwise, `examples` at either end of a
neuron. Tokens have the frequencies of text.
"""

import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from assets.atlas.atlas_texts import PIECE
from assets.contracts import TABLES, conform
from assets.study import Study
from reports.asset import MODEL_FACTS
from reports.atlas.data_files import write_atlas
from reports.pages.atlas import atlas_pages
from reports.report_data import ReportData
from reports.site import environment_of, render, write_static

LENGTH, PEAK, BINS, FIRST, SCREENED = 53, 40, 128, 5, 4000
DOCUMENTS, WINDOW = 1000, 256  # of the made-up corpus


def made(layers: int, neurons: int, vocabulary: int, examples: int) -> ReportData:
    """The tables that the atlas reads: every neuron has its examples, its tokens and its weights."""
    random = np.random.default_rng(0)
    every = layers * neurons
    words = [" " + "".join(random.choice(list("etaoinshrdlcumw"), random.integers(2, 9))) for _ in range(vocabulary)]
    frames = {
        "atlas_histograms": _places(layers, neurons).with_columns(counts=_lists(random.poisson(np.geomspace(1e5, 0.01, BINS), (every, BINS)))),
        "activation_bins": _places(layers, neurons).with_columns(per_unit=pl.lit(8.0), first_bin=pl.lit(-8), bins=pl.lit(BINS)),
        "neuron_statistics": _statistics(random, _places(layers, neurons)),
        "atlas_examples": _examples(random, layers, neurons, examples),
        "atlas_texts": _texts(random, vocabulary),
        "atlas_neighbours": _neighbours(random, layers, neurons),
        "token_counts": pl.DataFrame({"token_id": np.arange(vocabulary), "token": words, "occurrences": 9, "predictions": 9, "correct_predictions": 3}),
    }  # fmt: skip
    for name, ends in (
        ("atlas_tokens", ("high", "low")),
        ("congruence_neurons", ("top", "bottom")),
        ("congruence_reads", ("top", "bottom")),
    ):
        frames[name] = _by_neuron(random, name, layers, neurons, vocabulary, ends)
    frames["atlas_tokens"] = pl.concat([frames["atlas_tokens"].with_columns(by=pl.lit(by)) for by in ("predicted", "current")])
    screened = min(SCREENED, vocabulary)
    both = [_by_token(random, "contribution_screen", layers, neurons, screened, end) for end in ("writes", "writes_against")]
    frames["contribution_screen"] = pl.concat(both)
    frames["token_neuron_screen"] = _by_token(random, "token_neuron_screen", layers, neurons, screened, None)
    frames["congruence_tokens"] = _by_token(random, "congruence_tokens", layers, neurons, vocabulary, None)
    facts = dict.fromkeys(MODEL_FACTS)
    study = Study.model_validate({"name": "made-up", "folder": Path("."), "model": {"id": "made-up"}, "corpus": {"files": ["made-up.txt"]},
                                  "tokens": [words[0]]})  # fmt: skip
    return ReportData(study=study, tables={name: conform(TABLES[name], _whole(name, frame)) for name, frame in frames.items()}, facts=facts)


def _places(layers: int, neurons: int, times: int = 1) -> pl.DataFrame:
    number = np.repeat(np.arange(layers * neurons), times)
    return pl.DataFrame({"layer": (number // neurons).astype(np.int32), "neuron": (number % neurons).astype(np.int32)})


def _lists(values: np.ndarray) -> pl.Series:
    return pl.Series(values).arr.to_list()


def _statistics(random: np.random.Generator, places: pl.DataFrame) -> pl.DataFrame:
    amount = places.height
    variance = random.lognormal(-2, 1, amount)
    return places.with_columns(
        count=pl.lit(1_000_000), mean=random.normal(0, 0.1, amount), variance=variance, skewness=random.normal(0, 2, amount),
        kurtosis=3 + random.lognormal(1, 1, amount), minimum=-random.lognormal(0.5, 0.5, amount), maximum=random.lognormal(1, 0.5, amount),
        share_above_zero=random.random(amount), underflow=pl.lit(0), overflow=pl.lit(1), nan=pl.lit(0), is_dead=pl.lit(False),
    )  # fmt: skip


def _examples(random: np.random.Generator, layers: int, neurons: int, examples: int) -> pl.DataFrame:
    """Beside the highest and lowest three of the levels between on either side, and two random places."""
    sides = {"top": examples, "bottom": examples, "between_top": 3, "between_bottom": 3, "random": 2}
    told = [(side, rank) for side, amount in sides.items() for rank in range(1, amount + 1)]
    places = _places(layers, neurons, len(told))
    amount = places.height
    side, rank = (np.array(column * (layers * neurons)) for column in map(list, zip(*told, strict=True)))
    activations = (0.3 * random.standard_t(3, (amount, LENGTH))).astype(np.float16).astype(np.float32)
    size = np.select([np.char.startswith(side, "between"), side == "random"], [0.3, 0.02], 1.0)
    peak = (np.where(np.char.endswith(side, "bottom"), -size, size) * (2 + random.lognormal(0.5, 0.4, amount))).astype(np.float32)
    activations[:, PEAK] = peak.astype(np.float16)
    first = random.integers(0, WINDOW - LENGTH + 1, amount)
    return places.with_columns(
        side=pl.Series(side), rank=pl.Series(rank), document=pl.Series(random.integers(0, DOCUMENTS, amount)), window_in_document=pl.lit(0),
        position=pl.Series(first + PEAK), first_position=pl.Series(first), activation=pl.Series(peak), activations=_lists(activations),
    )  # fmt: skip


def _texts(random: np.random.Generator, vocabulary: int) -> pl.DataFrame:
    """Every document whole: far more examples than a document has places leave no piece out."""
    shape = (DOCUMENTS * WINDOW // PIECE, PIECE)
    tokens = ((1 / np.maximum(random.random(shape), 1e-4) ** 1.3).astype(np.int64) % vocabulary).astype(np.int32)
    predictions = np.where(random.random(shape) < 0.4, np.roll(tokens, -1, 1), random.permutation(tokens.ravel()).reshape(shape))
    return pl.DataFrame({
        "document": np.repeat(np.arange(DOCUMENTS), WINDOW // PIECE), "window_in_document": 0,
        "first_position": np.tile(np.arange(0, WINDOW, PIECE), DOCUMENTS), "token_ids": _lists(tokens), "prediction_ids": _lists(predictions.astype(np.int32)),
    })  # fmt: skip


def _neighbours(random: np.random.Generator, layers: int, neurons: int) -> pl.DataFrame:
    told = [
        (kind, end, rank)
        for kind, last in (("together", 4), ("writes", 3), ("reads", 3))
        for end in ("alike", "opposite")
        for rank in range(1, last + 1)
    ]
    places = _places(layers, neurons, len(told))
    return places.with_columns(
        **{name: pl.Series(list(column) * (layers * neurons)) for name, column in zip(("kind", "end", "rank"), zip(*told, strict=True), strict=True)},
        other_layer=random.integers(0, layers, places.height), other_neuron=random.integers(0, neurons, places.height),
        likeness=random.uniform(-1, 1, places.height),
    )  # fmt: skip


def _by_neuron(random: np.random.Generator, name: str, layers: int, neurons: int, vocabulary: int, ends: tuple[str, str]) -> pl.DataFrame:
    places = _places(layers, neurons, 2 * FIRST)
    return _with_numbers(random, name, places.with_columns(
        token_id=pl.Series(random.integers(0, vocabulary, places.height)), convention=pl.lit("logits"),
        end=pl.Series(np.tile(np.repeat(ends, FIRST), layers * neurons)), rank=pl.Series(np.tile(np.arange(1, FIRST + 1), 2 * layers * neurons)),
    ))  # fmt: skip


def _by_token(random: np.random.Generator, name: str, layers: int, neurons: int, amount: int, end: str | None) -> pl.DataFrame:
    tokens = np.repeat(np.arange(amount), 10)
    frame = pl.DataFrame({
        "token_id": tokens, "rank": np.tile(np.arange(1, 11), len(tokens) // 10), "layer": random.integers(0, layers, len(tokens)),
        "neuron": random.integers(0, neurons, len(tokens)),
    })  # fmt: skip
    return _with_numbers(random, name, frame.with_columns(convention=pl.lit("logits"), end=pl.lit(end, pl.String)))


def _with_numbers(random: np.random.Generator, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    floats = [column for column, dtype in TABLES[name].schema.items() if dtype.is_float()]
    return frame.with_columns(
        **{column: random.normal(0, 1, frame.height) for column in floats}, predictions=pl.lit(300), positions=pl.lit(300), token=pl.lit("")
    )


def _whole(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the columns and types of its contract; what it lacks is missing."""
    return frame.select(
        (pl.col(column) if column in frame.columns else pl.lit(None)).cast(dtype).alias(column)
        for column, dtype in TABLES[name].schema.items()
    )


def written(data: ReportData, site: Path) -> float:
    """Write the atlas alone, data and pages; returns the seconds that the data took."""
    started = time.monotonic()
    write_atlas(data, site)
    seconds = time.monotonic() - started
    write_static(site, with_plotly=False, with_atlas=True)
    for page in atlas_pages(data):
        (site / page.file).write_text(render(environment_of(data), page), encoding="utf-8")
    return seconds


def opened(site: Path, layers: int, neurons: int, vocabulary: int, queries: list[str]) -> dict[str, list[float]]:
    """Milliseconds from a change of the address, or of the search, to what is shown for it; hardly a neuron's file is loaded before."""
    from playwright.sync_api import sync_playwright

    random = np.random.default_rng(1)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto((site / "atlas/neuron.html").as_uri() + "#L0-N0")
        page.wait_for_selector("h1:visible")
        told: dict[str, list[float]] = {"neuron": []}
        for number in random.choice(layers * neurons, 12, replace=False).tolist():
            told["neuron"].append(page.evaluate(_SHOWN, [number // neurons, number % neurons]))
        page.goto((site / "atlas/token.html").as_uri() + "#0")
        page.wait_for_selector("h1:visible")
        told["token"] = [page.evaluate(_TOKEN, one) for one in random.choice(vocabulary, 12, replace=False).tolist()]
        page.goto((site / "atlas/index.html").as_uri())
        page.wait_for_function("document.querySelector('[data-shown]').textContent")
        page.locator("[data-query]").focus()
        page.wait_for_timeout(1000)  # a hand that goes to the keyboard
        told["search, each first time"] = [page.evaluate(_FOUND, query) for query in queries]
        told["map, a drawing"] = [page.evaluate(_DRAWN) for _ in range(8)]
        browser.close()
    return told


_WHEN = """(element, act) => new Promise((take) => {
  const started = performance.now(), told = () => requestAnimationFrame(() => setTimeout(() => take(performance.now() - started)));
  new MutationObserver((_, watcher) => { watcher.disconnect(); told(); }).observe(element, { childList: true });
  act();
})"""
_SHOWN = (
    f"""([layer, neuron]) => ({_WHEN})(document.querySelector("[data-title]"), () => {{ location.hash = `#L${{layer}}-N${{neuron}}`; }})"""
)
_TOKEN = f"""(token) => ({_WHEN})(document.querySelector("[data-title]"), () => {{ location.hash = `#${{token}}`; }})"""
_FOUND = f"""(query) => ({_WHEN})(document.querySelector("[data-results]"), () => {{
  const input = document.querySelector("[data-query]");
  input.value = query;
  input.dispatchEvent(new Event("input"));
}})"""
_DRAWN = """() => new Promise((take) => {
  const started = performance.now();
  document.querySelector("[data-map]").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
  requestAnimationFrame(() => setTimeout(() => take(performance.now() - started)));
})"""


def main() -> None:
    """Print the figures."""
    layers, neurons, vocabulary, examples = [*map(int, sys.argv[1:]), *(30, 1536, 49_152, 4)[len(sys.argv) - 1 :]]
    data = made(layers, neurons, vocabulary, examples)
    words = [word.strip() for word in data.table("token_counts")["token"].head(6)]  # frequent tokens: they stand in many examples
    queries = [part for word in words for part in (word[0], word[:2], word)] + ["262", "L3 N17"]  # as typed; a letter is in most tokens
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        seconds = written(data, site)
        print(f"{layers} x {neurons} neurons, {vocabulary} tokens: {seconds:.1f} s, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB, "
              f"{before // 1024} MiB of it before")  # fmt: skip
        sizes: Counter[str] = Counter()
        for file in (site / "atlas/data").iterdir():
            sizes[file.stem.partition("-")[0]] += file.stat().st_size
        for part, size in sizes.most_common():
            print(f"  {part}: {size / 1e6:.1f} MB, {size / (layers * neurons):.0f} bytes a neuron")
        print(f"  all: {sizes.total() / 1e6:.1f} MB, {sizes.total() / (layers * neurons):.0f} bytes a neuron")
        for what, milliseconds in opened(site, layers, neurons, vocabulary, queries).items():
            print(f"  {what}: {np.median(milliseconds):.0f} ms, at most {max(milliseconds):.0f}")


if __name__ == "__main__":
    main()
