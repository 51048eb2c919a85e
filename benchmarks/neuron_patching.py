"""Time per neuron of neuron patching against the published notebook's way: one forward pass of the whole model a neuron.

Run with `python -m benchmarks.neuron_patching`. A model of GPT-2 small's size with random weights and the published prompts as GPT-2's
tokenizer reads them: 20 tokens with the beginning of sequence, which differ in one, the fruit, at position 16. `--changed N` takes
prompts of 20 random tokens that differ at position N instead: what differs earlier leaves more to compute at `all` positions. All
neurons of all layers are patched the fast way, at the `last` and at `all` positions; between layers the loop patches a few neurons of
the same layer, so that a busy machine slows both alike. Prints medians, their ratio, and by how much the two results differ at most.
With `--cpu-time` processor time is measured instead of the clock on the wall: on a machine that is busy otherwise, with one thread.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from assets.prompts.prompt_runs import PairRuns
    from assets.prompts.prompts import EncodedPrompt, PromptPair

# "<|endoftext|>I climbed up the pear tree and picked a pear. I climbed up the apple tree and picked", and " lemon" instead
PUBLISHED = (50256, 40, 19952, 510, 262, 25286, 5509, 290, 6497, 257, 25286, 13, 314, 19952, 510, 262, 17180, 5509, 290, 6497)
LEMON, AN, A = 18873, 281, 257
TOKENS, CHANGED = len(PUBLISHED), PUBLISHED.index(17180)
TARGETS = {"last": 100, "all": 30}


class Round(NamedTuple):
    """Seconds a neuron of both ways for one prompt, and the largest difference between their results."""

    fast: float
    loop: float
    error: float


def main() -> None:
    """Measure and print."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # here, not on import: tests import this module in a process that downloads
    import torch

    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = _random_gpt2_small(Path(folder))
    from assets.prompts.prompts import prompt_pairs

    rounds: dict[str, list[Round]] = {positions: [] for positions in TARGETS}
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    prompts = [
        published_prompt() if arguments.changed is None else _prompt(model, seed, arguments.changed) for seed in range(arguments.rounds)
    ]
    for number, pair in enumerate(prompt_pairs(prompts), 1):
        for positions, taken in rounds.items():
            taken.append(_measure(model, pair, positions, arguments.samples, min(arguments.neurons, model.facts.neurons), clock))
            print(f"round {number}, {_sentence(positions, taken[-1:])}", flush=True)
    error = max(one.error for taken in rounds.values() for one in taken)
    print(
        f"{model.facts.layers} layers x {arguments.neurons} of {model.facts.neurons} neurons, {TOKENS} tokens, "
        f"first difference at {CHANGED if arguments.changed is None else arguments.changed}, {arguments.threads} threads; results differ by at most {error:.2g}"
    )
    for positions, taken in rounds.items():
        print(f"{_sentence(positions, taken)} (aim {TARGETS[positions]})")


def _sentence(positions: str, rounds: list[Round]) -> str:
    fast, loop = median(one.fast for one in rounds) * 1e3, median(one.loop for one in rounds) * 1e3
    return f"{positions}: {fast:.3f} ms a neuron, loop {loop:.1f} ms, ratio {median(one.loop / one.fast for one in rounds):.0f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Neuron patching against one forward pass a neuron.")
    parser.add_argument("--rounds", type=int, default=3, help="prompts; each is patched at `last` and at `all` positions")
    parser.add_argument("--samples", type=int, default=2, help="neurons per layer that the loop patches in each round")
    parser.add_argument("--neurons", type=int, default=3072, help="neurons per layer that the fast way patches: fewer, sooner done")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--changed", type=int, help="position of the token that differs, of random prompts; the published ones if absent")
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of the clock on the wall")
    return parser.parse_args()


def _measure(model: Any, pair: "PromptPair", positions: str, samples: int, neurons: int, clock: Callable[[], float]) -> Round:
    """Patch the first `neurons` of every layer the fast way, its two runs, their gradients and its preparation included; the loop takes turns with it."""
    import torch

    from assets.prompts.continuation import Continuation
    from assets.prompts.neuron_gradients import neuron_gradients
    from assets.prompts.neuron_patching import patch_neurons
    from assets.prompts.prompt_runs import residual_after, run_pair

    layers = model.facts.layers
    first = pair.positions - 1 if positions == "last" else pair.first_difference
    start = clock()
    runs = run_pair(model, pair, [hook for layer in range(layers) for hook in (model.neuron_hook(layer), residual_after(layer))])
    with torch.inference_mode():
        for hook in (model.neuron_hook(layer) for layer in range(layers)):
            runs.clean.values[hook][:, neurons:] = runs.corrupt.values[hook][:, neurons:]  # the same in both runs: not run
    rest, gradients = Continuation(model, runs, first), neuron_gradients(model, runs)
    fast, loop, error = clock() - start, [], 0.0
    for layer in range(layers):
        start = clock()
        differences = patch_neurons(model, runs, rest, layer, gradients[layer])
        fast += clock() - start
        for sample in range(samples):
            neuron = (977 * (sample + 1) + 131 * layer) % neurons
            start = clock()
            difference = _whole_forward(model, runs, layer, neuron, first)
            loop.append(clock() - start)
            error = max(error, abs(difference - float(differences[neuron])))
    return Round(fast / (layers * neurons), median(loop), error)


def _whole_forward(model: Any, runs: "PairRuns", layer: int, neuron: int, first: int) -> float:
    """The published notebook's way: a hook that overwrites one neuron, and the logits of the whole model."""
    import torch

    clean = runs.clean.values[model.neuron_hook(layer)]

    def overwrite(activations: torch.Tensor, hook: object) -> torch.Tensor:
        activations[:, first:, neuron] = clean[first:, neuron]
        return activations

    tokens = torch.tensor([list(runs.pair.corrupt)])
    with torch.inference_mode():
        logits = model.bridge.run_with_hooks(tokens, fwd_hooks=[(model.neuron_hook(layer), overwrite)])[0, -1]
    return float(logits[runs.pair.prompt.answer_id] - logits[runs.pair.prompt.wrong_answer_id])


def _random_gpt2_small(folder: Path) -> Any:
    """GPT-2 small's size with its default random weights. The tokenizer is a stand-in: prompts are given as ids."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from assets.model.loading import load

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(str(folder))
    words = Tokenizer(models.WordLevel({"<s>": 0, "a": 1, "b": 2}, unk_token="<s>"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="<s>", unk_token="<s>").save_pretrained(str(folder))
    return load(folder, device="cpu")


def published_prompt() -> "EncodedPrompt":
    """The published pair, by the ids of GPT-2's tokenizer."""
    from assets.prompts.prompts import EncodedPrompt

    corrupt = (*PUBLISHED[:CHANGED], LEMON, *PUBLISHED[CHANGED + 1 :])
    return EncodedPrompt("published", PUBLISHED, corrupt, AN, A, ("",) * TOKENS, ("",) * TOKENS)


def _prompt(model: Any, seed: int, changed: int) -> "EncodedPrompt":
    """A prompt of random ids whose corrupt partner differs at one position."""
    import torch

    from assets.prompts.prompts import EncodedPrompt

    ids = torch.randint(model.facts.vocabulary, (TOKENS + 3,), generator=torch.Generator().manual_seed(seed)).tolist()
    clean, (other, answer, wrong_answer) = ids[:TOKENS], ids[TOKENS:]
    corrupt = [*clean[:changed], other, *clean[changed + 1 :]]
    return EncodedPrompt(f"random-{seed}", tuple(clean), tuple(corrupt), answer, wrong_answer, ("",) * TOKENS, ("",) * TOKENS)


if __name__ == "__main__":
    main()
