"""What a run is about to do and how long that will take: what stands, what is to be made, an estimate of each long stage.

A stage that ran before for the same study tells best: its record says how many seconds, and those of the pass grow with the positions.
The others are estimated from sizes and this machine's speed on this model (forward_rate). An estimate is there to choose between waiting, a
smaller corpus and fewer prompts: meant to be right within a factor of two or three, and an upper bound where it needs the number of studied neurons,
which are not chosen yet. Reads nothing; what it is given is found in planned_run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PASS = "activation_histograms"
OF_THE_CORPUS = ("corpus_documents", "token_windows", PASS)  # their seconds grow with the positions
ROWS, LONG = 6, 1.0  # rows of the table at most, and the seconds from which a stage has one
ATLAS = "atlas"
BEFORE, ESTIMATED, AT_MOST = "as before", "estimated", "estimated, at most"

# Of the forward pass and its top predictions: what counting, padding and writing add; 1.5 was measured with short texts of SmolLM2-135M in four shards.
COUNTING = 1.4
BATCHED = 1.5  # of a block's time in a forward pass: patched variants come in smaller batches, and each is written first
PROMPT = 64  # positions of a batch that take as long as a prompt by itself, whose weights are read for a few positions
PASSES_OVER_SCORES = 1.5  # congruence: ranking its scores takes half as long as multiplying them
MATRICES, LINES_OF_EVIDENCE, FROM_OTHER_LINES = 3, 9, 2  # congruence's: two conventions, and the input side; candidates'
CONTROLS, ABLATIONS = 100, 4  # neuron_ablation: neurons beside each studied one, and ways to replace an activation
COMPARED = 16  # and at how many positions of each kind controls are ablated at most
BEHIND = 0.25  # of the blocks lie behind a studied neuron: those that write a token are late, behind three quarters to all but one
# Of a layer's neurons the share that neuron_patching runs, the others being linear (SmolLM2-135M), and how many at least.
RUN_OF_ALL, RUN_OF_LAST, RUN_AT_LEAST = 0.7, 0.17, 256
SECONDS_OF_PAIR = 2e-5  # half_scores and corpus_growth: a token and neuron under one outcome, on a core of 2023
SECONDS_OF_MERGED = 1.3e-5  # merged_histograms: the same in one shard
SECONDS_OF_RECORD, SECONDS_OF_PAGE = 2e-4, 0.15  # report_site: a neuron's record of the atlas, and what a studied neuron has on pages
SECONDS_OF_KEPT = 1.2e-8  # sparse_probes: an activation of a kept position read for all tokens and outcomes, on the same
SECONDS_OF_PROBES = 1.3  # and the fits of one token and outcome, which do not grow with the neurons
BETWEEN_AND_RANDOM = 7  # examples of a neuron beside its highest and lowest: two random places, and of eight levels between about five
# Of the atlas, tables and pages together, on SmolLM2-135M: all of a neuron but its examples, and one example, whose text stands apart.
BYTES_OF_NEURON, BYTES_OF_EXAMPLE = 2000, 190
SECONDS_OF_ATLAS = 3e-4  # a neuron: its histogram, examples and tokens, on a core of 2023
# Positions that neurons are compared over at most, and ways to be alike: by activation, two by weights.
SAMPLED_FOR_NEIGHBOURS, KINDS_OF_NEIGHBOURS = 1024, 3
# Of two neurons, by each position or coordinate, where the processor multiplies bfloat16; elsewhere nine times that.
SECONDS_OF_PRODUCT = 2e-12
SECONDS_OF_CHOICE = 3e-9  # and to choose from the products of one kind


@dataclass(frozen=True)
class Sizes:
    """What the work grows with. `positions` of the whole corpus, `of_first_shard` of it; None where nobody knows before it is read.

    `changed`: of each prompt with a corrupt partner, the positions from the first that differs on; `pairs_of_sets`: pairs of all
    prompt sets. `told`: tracked tokens and groups.
    """

    layers: int
    neurons: int
    width: int
    vocabulary: int
    told: int
    outcomes: int
    positions: int | None
    shards: int
    calibration: int  # positions that calibrated bins read at most; 0: the study's own bins
    changed: tuple[int, ...]
    pairs_of_sets: int
    patched_layers: tuple[int, ...]
    named: int
    best: int
    context: int
    ablation: int
    kept: int
    examples: int = 10  # highest of each studied neuron
    atlas_examples: int = 0  # of each neuron and side; 0: no atlas

    @property
    def studied(self) -> int:
        """Neurons that get pages, at most: the best of each line of evidence for each told token, and those that the study names."""
        lines = LINES_OF_EVIDENCE + (self.pairs_of_sets > 0)  # prompt sets send neurons where there are any
        of_token = self.best + (lines - 1) * min(self.best, FROM_OTHER_LINES)
        return min(self.named + self.told * of_token, self.layers * self.neurons)


@dataclass(frozen=True)
class Earlier:
    """Seconds of a stage's outputs as they were made last, and the positions of the corpus then."""

    seconds: float
    positions: int | None = None


@dataclass(frozen=True)
class Planned:
    """One stage that is to be made. `seconds` is None where nobody can tell yet, `told` says what the number is."""

    stage: str
    seconds: float | None
    told: str


def estimates(sizes: Sizes, rate: float) -> dict[str, tuple[float | None, str]]:
    """Seconds of the long stages, and what the number is. `rate`: positions a second through the model and its top predictions."""
    position = 1 / rate
    block_share, multiplied = _shares(sizes)
    block = position * block_share / sizes.layers  # a position through one block
    below = [sizes.layers - layer for layer in range(sizes.layers)]
    patched = [sizes.layers - layer for layer in sizes.patched_layers]
    heads = max(1, sizes.width // 64)
    again = len(sizes.changed) * PROMPT * position  # one plain forward of each prompt: the strongest patches of a layer are done once more
    studied, every, positions = sizes.studied, sizes.layers * sizes.neurons, sizes.positions
    pairs = sizes.told * sizes.outcomes * every
    probed = sizes.told * sizes.outcomes if sizes.kept else 0
    ablated = min(studied, sizes.told * sizes.layers) * CONTROLS * ABLATIONS  # controls are shared by a token's neurons of a layer
    clean = min(sizes.told * sizes.ablation, positions // sizes.context + 1 if positions else sizes.told * sizes.ablation) * sizes.context
    changed = 2 * (sizes.ablation * studied * ABLATIONS + min(sizes.ablation, COMPARED) * ablated)  # of each kind of position
    components = sum(n * n for n in sizes.changed) * (heads + 3) * sum(below)  # positions through a block, as progress counts them
    of_all, of_last = (max(share, min(1.0, RUN_AT_LEAST / sizes.neurons)) for share in (RUN_OF_ALL, RUN_OF_LAST))
    neurons = sum(of_all * n + of_last for n in sizes.changed) * sizes.neurons * sum(patched)
    of_pair = (
        of_last * sizes.neurons * sum(patched) * block * BATCHED + (len(patched) + 6) * PROMPT * position
    )  # of a prompt set; its prompts run four times, and once backwards
    first = None if positions is None else min(positions // sizes.shards, sizes.calibration)
    return {
        "activation_bins": (0.0 if not sizes.calibration else _times(first, position * block_share), ESTIMATED),
        PASS: (_times(positions, position * COUNTING), ESTIMATED),
        "activation_patching": (components * block * BATCHED + 4 * sizes.layers * again, ESTIMATED),
        "neuron_patching": (neurons * block * BATCHED + 2 * len(patched) * again, ESTIMATED),
        "prompt_set_patching": (sizes.pairs_of_sets * of_pair, ESTIMATED),
        "congruence": (MATRICES * PASSES_OVER_SCORES * multiplied * position, ESTIMATED),
        "merged_histograms": (pairs * sizes.shards * SECONDS_OF_MERGED, ESTIMATED),
        "half_scores": (pairs * SECONDS_OF_PAIR, ESTIMATED),
        "corpus_growth": (pairs * SECONDS_OF_PAIR, ESTIMATED),
        "sparse_probes": ((probed > 0) * every * sizes.kept * SECONDS_OF_KEPT + probed * SECONDS_OF_PROBES, ESTIMATED),
        ATLAS: (_atlas(sizes, every) if sizes.atlas_examples else 0.0, ESTIMATED),
        "neuron_inputs": (studied * sizes.examples * sizes.context / 2 * position * block_share, AT_MOST),  # of each text, up to its peak
        "neuron_ablation": (clean * position + changed * sizes.layers * BEHIND * block * BATCHED, AT_MOST),
        "report_site": ((every if sizes.atlas_examples else 0) * SECONDS_OF_RECORD + studied * SECONDS_OF_PAGE, AT_MOST),
    }


def _atlas(sizes: Sizes, every: int) -> float:
    """Seconds of the atlas of `every` neuron. Each is compared with all others, one of a pair with the other at once."""
    compared = min(sizes.kept - sizes.kept // 2, SAMPLED_FOR_NEIGHBOURS)
    of_pair = (compared + 2 * sizes.width) / 2 * SECONDS_OF_PRODUCT + KINDS_OF_NEIGHBOURS * SECONDS_OF_CHOICE
    return every * SECONDS_OF_ATLAS + every**2 * of_pair


def _shares(sizes: Sizes) -> tuple[float, float]:
    """Of a position's time in the forward pass, the share of the blocks; and how many positions' time one look of every neuron's output weights
    at every token's vector takes. By multiplications: attention's four matrices of the model's width, an MLP's two, the unembedding."""
    blocks = sizes.layers * (4 * sizes.width**2 + 2 * sizes.width * sizes.neurons)
    unembedding = sizes.vocabulary * sizes.width
    every = sizes.layers * sizes.neurons * unembedding
    return blocks / (blocks + unembedding), every / (blocks + unembedding)


def _times(amount: int | None, seconds: float) -> float | None:
    return None if amount is None else amount * seconds


def planned(
    to_make: Mapping[str, float], earlier: Mapping[str, Earlier], positions: int | None, guessed: Mapping[str, tuple[float | None, str]]
) -> list[Planned]:
    """The stages to make, each as it went before (the pass in proportion to the positions), or as estimated. Without either: 0 seconds.

    `to_make`: which share of a stage's outputs, 1 but where some shards stand.
    """
    found = []
    for stage, share in to_make.items():
        before = earlier.get(stage)
        if before is None:
            seconds, told = guessed.get(stage, (0.0, ESTIMATED))
        else:
            times = positions / before.positions if stage in OF_THE_CORPUS and positions and before.positions else 1.0
            seconds, told = before.seconds * times, BEFORE if times == 1 else f"{BEFORE}, for {times:.2g} times the positions"
        told = told if share == 1 else f"{told}, {share:.0%} of the shards"
        found.append(Planned(stage, None if seconds is None else seconds * share, told))
    return found


def plan_lines(plan: Sequence[Planned], stages: int, sizes: Sizes, rate: float | None) -> list[str]:
    """The plan for a person, a dozen lines at most; `stages` is how many there are, `rate` is None where nothing was measured."""
    if not plan:
        return [f"Plan: all {stages} stages stand; nothing is to be made."]
    known = [one for one in plan if one.seconds is not None]
    ranked = sorted(known, key=lambda one: -(one.seconds or 0))
    shown = [one for one in ranked if (one.seconds or 0) >= LONG][:ROWS]
    rest = sum(one.seconds or 0 for one in ranked[len(shown) :])
    lines = [
        f"Plan: {len(plan)} of {stages} stages to make, {stages - len(plan)} stand. What comes out as it was keeps what is made from it."
    ]
    lines += [f"  {one.stage:<24}{_length(one.seconds or 0):>10}  {one.told}" for one in shown]
    lines += [f"  {one.stage:<24}{'?':>10}  known when the corpus has been read" for one in plan if one.seconds is None][:2]
    lines.append(f"  {'all others':<24}{_length(rest):>10}")
    lines.append(
        f"  {'in all':<24}{_length(sum(one.seconds or 0 for one in known)):>10}{'' if len(known) == len(plan) else '  and what is not known'}"
    )
    about = "" if sizes.positions is None else f"about {sizes.positions:,} positions, "
    measured = "" if rate is None else f"; {rate:,.0f} positions a second through the model"
    if sizes.atlas_examples and any(one.stage == ATLAS for one in plan):
        measured += f"; about {max(1, round(bytes_of_atlas(sizes) / 1e6)):,} MB for the atlas of all neurons"
    lines.append(
        f"  {about}{sizes.layers} x {sizes.neurons:,} neurons, {sizes.told} tokens and groups, at most {sizes.studied} neurons studied{measured}"
    )
    return lines


def bytes_of_atlas(sizes: Sizes) -> int:
    """Bytes of the atlas on disk, its tables and its pages, as estimated."""
    return sizes.layers * sizes.neurons * (BYTES_OF_NEURON + (2 * sizes.atlas_examples + BETWEEN_AND_RANDOM) * BYTES_OF_EXAMPLE)


def _length(seconds: float) -> str:
    """Seconds, minutes or hours, whichever are few."""
    if seconds < 90:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
