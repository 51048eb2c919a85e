"""What the one pass costs beside the bare model: `python -m benchmarks.throughput`.

Two arms on the same seeded, random, GPT-2-small-sized model, batch, dtype and threads, run in turn so that whatever else the
machine does falls on both: (a) plain Hugging Face code (SDPA attention, no cache) and the argmax of its logits; (c) this
engine with everything on: bins, tracked tokens, moments, extremes, examples. Set-up and the first, cold batch are left out.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import torch

    from assets.histograms.batch_counter import Counter
    from assets.histograms.batches import Batch
    from assets.model.language_model import LanguageModel

WINDOWS, LENGTH, TRACKED, EXAMPLES = 4, 256, 16, 10


def main() -> None:
    """Print the table."""
    arguments = _arguments()
    import torch

    from assets.model.freed_memory import keep_freed_memory

    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # of the whole process, so both arms have it
    plain, model = random_models(arguments.layers)
    batch = random_batch(model)
    token_ids = most_predicted(model, batch)
    counter = timed_counter(model, token_ids)
    from assets.histograms.activation_histograms import counting

    ids = torch.from_numpy(batch.token_ids)
    arms: dict[str, list[tuple[float, float]]] = {"a": [], "c": []}
    with torch.inference_mode(), counting(model, counter) as count_batch:  # type: ignore[arg-type]
        runs: dict[str, Callable[[], Any]] = {
            "a": lambda: plain(ids, use_cache=False).logits.argmax(-1),
            "c": lambda: count_batch(batch),
        }
        for run in runs.values():  # compiles the loops and touches the memory
            run()
        counter.seconds.clear()
        for round_number in range(arguments.rounds):
            for arm in ("a", "c") if round_number % 2 else ("c", "a"):
                arms[arm].append(_timed(runs[arm]))
    _print(arms, counter.seconds, arguments)


def random_models(layers: int = 12, seed: int = 0) -> "tuple[torch.nn.Module, LanguageModel]":
    """The same random weights twice: a plain Hugging Face GPT-2 of the small size (SDPA), and the bridge that the product runs."""
    import copy

    import torch
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformers import GPT2Config, GPT2LMHeadModel

    from assets.model.language_model import LanguageModel, ModelFacts
    from assets.model.plain_model import plain_twin

    torch.manual_seed(seed)
    config = GPT2Config(n_layer=layers, architectures=["GPT2LMHeadModel"])
    config._attn_implementation = "eager"  # what the bridge runs
    wrapped = GPT2LMHeadModel(config).eval()
    plain_config = copy.deepcopy(config)
    plain_config._attn_implementation = "sdpa"
    plain = GPT2LMHeadModel(plain_config).eval()
    plain.load_state_dict(wrapped.state_dict())
    twin = plain_twin(wrapped)
    bridge = build_bridge_from_module(wrapped, "GPT2LMHeadModel", hf_config=config)
    config.output_attentions = False
    bridge.eval().requires_grad_(False)
    facts = ModelFacts(
        architecture="GPT2LMHeadModel", layers=layers, neurons=4 * config.n_embd, model_width=config.n_embd, vocabulary=config.vocab_size,
        tokenizer_entries=config.vocab_size, context_length=config.n_positions, is_gated=False, normalization="LN",
        beginning_token_id=50256, is_tied=True,
    )  # fmt: skip
    return plain.requires_grad_(False), LanguageModel(bridge, twin, None, facts, torch.device("cpu"))


def random_batch(model: "LanguageModel") -> "Batch":
    """Windows of token ids with the frequencies of text: the r-th most frequent entry occurs in proportion to 1 / r."""
    from assets.histograms.batches import batches

    generator = np.random.default_rng(0)
    shares = 1 / np.arange(1, model.facts.vocabulary + 1)
    drawn = generator.choice(model.facts.vocabulary, size=(WINDOWS, LENGTH), p=shares / shares.sum())
    drawn[:, 0] = model.facts.beginning_token_id
    windows = pl.DataFrame(
        {
            "document": np.arange(WINDOWS),
            "window_in_document": np.zeros(WINDOWS, np.int32),
            "length": np.full(WINDOWS, LENGTH, np.int32),
            "token_ids": drawn.astype(np.int32).tolist(),
        }
    )
    return next(batches(windows, model.facts.context_length, model.facts.beginning_token_id, {LENGTH: WINDOWS}))


def most_predicted(model: "LanguageModel", batch: "Batch") -> list[int]:
    """The TRACKED tokens that the model predicts most often, so that the tracked counters have their work."""
    import torch

    from assets.histograms.top_predictions import predictor

    with torch.inference_mode():
        predictions = predictor(model)(torch.from_numpy(batch.token_ids)).numpy().reshape(-1)
    entries, counts = np.unique(predictions, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:TRACKED]
    print(f"tracked tokens are predicted at {counts[order].sum() / counts.sum():.0%} of positions")
    return [int(entry) for entry in entries[order]]


class TimedCounter:
    """A counter that notes the seconds of its steps."""

    def __init__(self, counter: "Counter") -> None:
        self._counter = counter
        self.seconds: dict[str, list[float]] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        def step(*given: Any) -> None:
            started = time.perf_counter()
            getattr(self._counter, name)(*given)
            self.seconds.setdefault(name, []).append(time.perf_counter() - started)

        return step


def timed_counter(model: "LanguageModel", token_ids: list[int]) -> TimedCounter:
    """The engine's own counter with the published bins."""
    from assets.histograms.activation_bins import fixed_bins
    from assets.histograms.activation_histograms import new_counter
    from assets.study import FixedBins

    bins = fixed_bins(model.facts.layers, model.facts.neurons, FixedBins())
    return TimedCounter(new_counter(model, bins, token_ids, count_bos=False, examples=EXAMPLES))


def _timed(run: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of one run; CPU seconds sum over threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def _print(arms: dict[str, list[tuple[float, float]]], steps: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    import torch

    positions = WINDOWS * LENGTH
    print(f"{_processor()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {arguments.threads} threads, torch {torch.__version__}, "
          f"{platform.platform()}")  # fmt: skip
    print(
        f"GPT-2-small-sized ({arguments.layers} layers), random weights, float32, {WINDOWS} x {LENGTH} positions, {arguments.rounds} rounds"
    )
    print("arm  wall median  fastest    CPU median   positions/s")
    for arm, runs in arms.items():
        wall, cpu = ([run[part] for run in runs] for part in (0, 1))
        print(f"{arm}    {statistics.median(wall):8.3f} s  {min(wall):7.3f} s  {statistics.median(cpu):8.3f} s  "
              f"{positions / statistics.median(wall):10.0f}")  # fmt: skip
    for part, name in ((0, "wall"), (1, "CPU")):
        ratios = sorted(a[part] / c[part] for a, c in zip(arms["a"], arms["c"], strict=True))
        quarter = len(ratios) // 4
        of_medians = statistics.median(run[part] for run in arms["a"]) / statistics.median(run[part] for run in arms["c"])
        of_fastest = min(run[part] for run in arms["a"]) / min(run[part] for run in arms["c"])
        print(f"throughput (c)/(a), {name}: median of rounds {statistics.median(ratios):.3f} (quartiles {ratios[quarter]:.3f} to "
              f"{ratios[-1 - quarter]:.3f}), of medians {of_medians:.3f}, of fastest {of_fastest:.3f}")  # fmt: skip
    rounds = len(arms["c"])
    of_round = {name: np.array(seconds).reshape(rounds, -1).sum(1) for name, seconds in steps.items()}
    of_round["forward and argmax"] = np.array([run[0] for run in arms["c"]]) - sum(of_round.values())
    print("median wall of (c): " + ", ".join(f"{name} {np.median(seconds) * 1000:.0f} ms" for name, seconds in of_round.items()))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=12)
    return parser.parse_args()


if __name__ == "__main__":
    main()
