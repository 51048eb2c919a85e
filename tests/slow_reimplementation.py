"""The one pass again, slow and obvious: one loop over positions, plain Python and NumPy, plain Hugging Face code.

What tests compare the product's counting with, integer by integer. Shares nothing with the product but the shape of the batch
that a window runs in (its arithmetic must be the same) and the names of the counters.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assets.contracts import OUTCOME_TENSORS, histogram_tensors
from assets.counting.batches import Batch
from assets.counting.histograms import ActivationBins

Examples = list[tuple[float, int, int, int]]  # activation, document, window, position


class SlowCounts:
    """Counters of the chosen neurons of every layer; `neurons` are their indexes (all if none is given)."""

    def __init__(
        self,
        bins: ActivationBins,
        token_ids: Sequence[int],
        vocabulary: int,
        *,
        count_bos: bool = False,
        examples: int = 3,
        neurons: Sequence[int] | None = None,
        screened: Sequence[int] = (),
        embedding_predictions: bool = False,
        outcomes: Sequence[str] = (),
        domains: int = 1,
    ) -> None:
        self.neurons = list(range(bins.per_unit.shape[1])) if neurons is None else list(neurons)
        self.per_unit = bins.per_unit[:, self.neurons]
        self.first_bin = bins.first_bin[:, self.neurons]
        self.bins, self.token_ids, self.count_bos, self.ranks = bins.bins, tuple(token_ids), count_bos, examples
        shape = self.per_unit.shape
        self.count = np.zeros((*shape, self.bins), int)
        self.outside = np.zeros((*shape, 3), int)
        self.top_prediction_count = np.zeros((len(token_ids), *shape, self.bins), int)
        self.top_prediction_outside = np.zeros((len(token_ids), *shape, 3), int)
        self.occurrences, self.predictions, self.correct_predictions = (np.zeros(vocabulary, int) for _ in range(3))
        self.counts_embedding = embedding_predictions
        self.embedding_prediction_count = np.zeros((len(token_ids), *shape, self.bins), int)
        self.embedding_prediction_outside = np.zeros((len(token_ids), *shape, 3), int)
        self.embedding_predictions = np.zeros(vocabulary, int)
        self.outcomes = tuple(outcomes)
        self.next_tokens, self.probability_sums = np.zeros(vocabulary, int), np.zeros(vocabulary, int)
        for name in ("next_token", "probability"):
            setattr(self, f"{name}_count", np.zeros_like(self.top_prediction_count))
            setattr(self, f"{name}_outside", np.zeros_like(self.top_prediction_outside))
        self.no_next_token_count, self.no_next_token_outside = np.zeros_like(self.count), np.zeros_like(self.outside)
        self.followed_by: list[int | None] = []  # the next token at each position that was seen
        self.probabilities: list[np.ndarray] = []  # of the tracked tokens there
        self.domains = domains
        self.followed: list[int | None] = []  # the next token at each position
        self.given: list[Any] = []  # the probabilities of the tracked tokens there
        self.domain_of: list[int] = []  # the domain of each position's document
        self.screened = list(screened)
        self.seen: list[tuple[np.ndarray, int, int, int]] = []  # activations [layer, neuron], document, window, position
        self.rows: dict[tuple[int, int], np.ndarray] = {}  # activations [layer, position, neuron] of every window, by document and window
        self.predicted: list[int] = []  # the top prediction at each of these positions
        self.current: list[int] = []  # the token there
        self.inverse_scale: list[float] = []  # 1 over the final norm's scale there
        self.met: dict[str, list[tuple[int, int, int, int]]] = {"prediction": [], "next_token": []}  # token, document, window, position

    def add(
        self,
        batch: Batch,
        activations: np.ndarray,
        predictions: np.ndarray,
        by_embedding: np.ndarray | None = None,
        inverse_scale: np.ndarray | None = None,
        probabilities: np.ndarray | None = None,
    ) -> None:
        """One batch: activations float32 [layer, row, position, neuron]; [row, position] predictions, the model's and by the embedding, and
        1 over the final norm's scale, float32; probabilities of the tracked tokens [row, position, token]."""
        for row in range(batch.token_ids.shape[0]):
            length = int(batch.lengths[row])
            for position in range(length):
                if position == 0 and not self.count_bos:
                    continue
                here = activations[:, row, position][:, self.neurons]
                follows = batch.token_ids[row, position + 1] if position + 1 < length else None
                self._add_position(here, batch.token_ids[row, position], predictions[row, position], follows)
                if by_embedding is not None:
                    self.embedding_predictions[by_embedding[row, position]] += 1
                    self._add_slots(here, by_embedding[row, position], "embedding_prediction")
                if self.outcomes:
                    given = None if probabilities is None else probabilities[row, position, : len(self.token_ids)]
                    self._add_outcomes(here, None if follows is None else int(follows), given)
                if position > 0 and follows is not None:
                    place = (int(batch.documents[row]), int(batch.windows[row]), position)
                    self.met["prediction"].append((int(predictions[row, position]), *place))
                    self.met["next_token"].append((int(follows), *place))
                self.predicted.append(int(predictions[row, position]))
                self.current.append(int(batch.token_ids[row, position]))
                self.inverse_scale.append(1.0 if inverse_scale is None else float(inverse_scale[row, position]))
                self.domain_of.append(0 if batch.domains is None else int(batch.domains[row]))
                self.followed.append(None if follows is None else int(follows))
                self.given.append(probabilities[row, position, : len(self.token_ids)] if probabilities is not None else None)
                self.seen.append((here.copy(), int(batch.documents[row]), int(batch.windows[row]), position))
            self.rows[int(batch.documents[row]), int(batch.windows[row])] = activations[:, row, :length][..., self.neurons].copy()

    def _add_position(self, here: Any, token: int, predicted: int, follows: int | None) -> None:
        self.occurrences[token] += 1
        self.predictions[predicted] += 1
        self.correct_predictions[predicted] += predicted == follows
        for layer, neuron in np.ndindex(*here.shape):
            tensor, index = self._counter_of(layer, neuron, here[layer, neuron])
            getattr(self, tensor)[layer, neuron, index] += 1
        self._add_slots(here, predicted, "top_prediction")

    def _add_slots(self, here: Any, predicted: int, kind: str) -> None:
        if predicted not in self.token_ids:
            return
        row = self.token_ids.index(predicted)
        for layer, neuron in np.ndindex(*here.shape):
            tensor, index = self._counter_of(layer, neuron, here[layer, neuron])
            getattr(self, f"{kind}_{tensor}")[row, layer, neuron, index] += 1

    def _add_outcomes(self, here: Any, follows: int | None, probabilities: Any) -> None:
        self.followed_by.append(follows)
        if follows is not None:
            self.next_tokens[follows] += 1
            self._add_slots(here, follows, "next_token")
        else:
            for layer, neuron in np.ndindex(*here.shape):
                tensor, index = self._counter_of(layer, neuron, here[layer, neuron])
                getattr(self, f"no_next_token_{tensor}")[layer, neuron, index] += 1
        if "probability" not in self.outcomes:
            return
        self.probabilities.append(np.array(probabilities))
        for row, token in enumerate(self.token_ids):
            units = round(float(probabilities[row]) * 2**32)
            self.probability_sums[token] += units
            for layer, neuron in np.ndindex(*here.shape):
                tensor, index = self._counter_of(layer, neuron, here[layer, neuron])
                getattr(self, f"probability_{tensor}")[row, layer, neuron, index] += units

    def _blocks(self) -> dict[str, np.ndarray]:
        """Everything by block of documents and under null labels, one position after the other."""
        sizes = {"block": 8 * self.domains, "token": len(self.token_ids), "layer": self.per_unit.shape[0]}
        sizes |= {"neuron": len(self.neurons), "bin": self.bins, "outside": 3, "group": len(self.screened) + 1 if self.screened else 0}
        made = {
            tensor.name: np.zeros([sizes[name] for name in tensor.dimensions], int)
            for tensor in histogram_tensors(False, self.outcomes)
            if tensor.name.startswith(("block_", "null_", "screen_null"))
        }
        null_predicted, null_followed = self._null_labels()
        for place, (here, document, _, _) in enumerate(self.seen):
            block = 8 * self.domain_of[place] + slow_fold(document)
            made["block_positions"][block] += 1
            self._add_to(made, "block", (block,), (), here, place)
            for outcome, label, null in (
                ("top_prediction", self.predicted[place], null_predicted[place]),
                ("next_token", self.followed[place], null_followed[place]),
            ):
                if f"null_{outcome}_count" not in made:
                    continue
                if label in self.token_ids:
                    self._add_to(made, f"block_{outcome}", (block,), (self.token_ids.index(label),), here, place)
                if null in self.token_ids and block % 8 >= 4:
                    self._add_to(made, f"null_{outcome}", (), (self.token_ids.index(null),), here, place)
            if self.followed[place] is None and "next_token" in self.outcomes:
                self._add_to(made, "block_no_next_token", (block,), (), here, place)
            for row in range(len(self.token_ids) if "probability" in self.outcomes else 0):
                self._add_to(made, "block_probability", (block,), (row,), here, place, float(self.given[place][row]))
            if self.screened:
                predicted = null_predicted[place]
                group = self.screened.index(predicted) if predicted in self.screened else len(self.screened)
                for layer, neuron in np.ndindex(*here.shape):
                    made["screen_null_sum"][layer, group, neuron] += round(within(float(here[layer, neuron])) * 2**24)
        return made

    def _add_to(
        self, made: dict[str, np.ndarray], name: str, block: tuple[int, ...], token: tuple[int, ...], here: Any, place: int, weight: Any = None
    ) -> None:  # fmt: skip
        """One position to <name>_count, _outside and _scaled, at this block and token where the tensor has them."""
        units = 1 if weight is None else round(weight * 2**32)
        share = self.inverse_scale[place] if weight is None else weight * self.inverse_scale[place]
        for layer, neuron in np.ndindex(*here.shape):
            tensor, index = self._counter_of(layer, neuron, here[layer, neuron])
            made[f"{name}_{tensor}"][(*block, *token, layer, neuron, index)] += units
            if self.screened:
                scaled = within(within(float(here[layer, neuron])) * share)
                made[f"{name}_scaled"][(*block, layer, *token, neuron)] += round(scaled * 2**30)

    def _null_labels(self) -> tuple[list[int | None], list[int | None]]:
        """At each seen position the prediction and the next token that are found further on in the same window, beyond its end from its start."""
        windows: dict[tuple[int, int], list[int]] = {}
        for place, (_, document, window, _) in enumerate(self.seen):
            windows.setdefault((document, window), []).append(place)
        predicted: list[int | None] = list(self.predicted)
        followed = list(self.followed)
        for (document, window), places in windows.items():
            for labels, source, own in (
                (predicted, self.predicted, places),
                (followed, self.followed, [place for place in places if self.followed[place] is not None]),
            ):
                shift = slow_shift(document, window, len(own))
                for rank, place in enumerate(own):
                    labels[place] = source[own[(rank + shift) % len(own)]]
        return predicted, followed

    def _outcome_sums(self) -> dict[str, np.ndarray]:
        """Activations over the final norm's scale where each tracked token comes next, where nothing does, and by probability; 0 where
        nothing is screened."""
        layers, neurons = self.per_unit.shape
        tokens = len(self.token_ids)
        following, by_probability = np.zeros((layers, tokens, neurons), int), np.zeros((layers, tokens, neurons), int)
        nothing = np.zeros((layers, neurons), int)
        for place, (here, *_) in enumerate(self.seen if self.screened else []):
            follows, inverse = self.followed_by[place], self.inverse_scale[place]
            for layer, neuron in np.ndindex(layers, neurons):
                value = float(here[layer, neuron])
                value = max(-(2.0**19), min(2.0**19, value)) if value == value else 0.0
                units = round(max(-(2.0**19), min(2.0**19, value * inverse)) * 2**30)
                if follows is None:
                    nothing[layer, neuron] += units
                elif follows in self.token_ids:
                    following[layer, self.token_ids.index(follows), neuron] += units
                for row in range(tokens if "probability" in self.outcomes else 0):
                    weight = float(self.probabilities[place][row]) * inverse
                    by_probability[layer, row, neuron] += round(max(-(2.0**19), min(2.0**19, value * weight)) * 2**30)
        return {"next_token_scaled": following, "no_next_token_scaled": nothing, "probability_scaled": by_probability}

    def _counter_of(self, layer: int, neuron: int, activation: np.float32) -> tuple[str, int]:
        place = self.place(layer, neuron, activation)
        if isinstance(place, str):
            return "outside", ("underflow", "overflow", "nan").index(place)
        return "count", place

    def place(self, layer: int, neuron: int, activation: np.float32) -> int | str:
        """The bin, or the name of what lies outside the bins."""
        if np.isnan(activation):
            return "nan"
        with np.errstate(over="ignore"):
            step = np.floor(np.float32(activation) * np.float32(self.per_unit[layer, neuron]))  # float32
        if step < self.first_bin[layer, neuron]:
            return "underflow"
        if step >= self.first_bin[layer, neuron] + self.bins:
            return "overflow"
        return int(step) - int(self.first_bin[layer, neuron])

    def tensors(self) -> dict[str, np.ndarray]:
        """Every tensor of the contract, for the chosen neurons."""
        names = ["count", "outside", "top_prediction_count", "top_prediction_outside", "occurrences", "predictions", "correct_predictions"]
        if self.counts_embedding:
            names += ["embedding_prediction_count", "embedding_prediction_outside", "embedding_predictions"]
        sums = self._outcome_sums() if self.outcomes else {}
        for outcome in self.outcomes:
            names += [tensor.name for tensor in OUTCOME_TENSORS[outcome] if tensor.name not in sums and hasattr(self, tensor.name)]
        return (
            {name: getattr(self, name) for name in names}
            | {tensor.name: sums[tensor.name] for outcome in self.outcomes for tensor in OUTCOME_TENSORS[outcome] if tensor.name in sums}
            | self._moments()
            | self._screen()
            | self._samples()
            | self._examples("top")
            | self._examples("bottom")
            | self._between("top")
            | self._between("bottom")
            | self._random()
            | self._blocks()
        )

    def _screen(self) -> dict[str, np.ndarray]:
        """By predicted token, and for all other tokens together: positions, and sums in whole units of 2^-24 and, over the scale, 2^-30.
        Positions and sums by current token."""
        groups = [*self.screened, -1] if self.screened else []
        layers, neurons = self.per_unit.shape
        sums, squares, scaled, current_sums = (np.zeros((layers, len(groups), neurons), int) for _ in range(4))
        counts, current_counts = (np.zeros(len(groups), int) for _ in range(2))
        seen = zip(self.seen, self.predicted, self.current, self.inverse_scale, strict=True)
        for (here, *_), predicted, current, inverse in seen:
            if not groups:
                break
            group = groups.index(predicted) if predicted in self.screened else len(groups) - 1
            counts[group] += 1
            of_current = groups.index(current) if current in self.screened else len(groups) - 1
            current_counts[of_current] += 1
            for layer, neuron in np.ndindex(layers, neurons):
                value = float(here[layer, neuron])
                if value == value:
                    value = max(-(2.0**19), min(2.0**19, value))
                    sums[layer, group, neuron] += round(value * 2**24)
                    current_sums[layer, of_current, neuron] += round(value * 2**24)
                    squares[layer, group, neuron] += round(value * value * 2**24)
                    scaled[layer, group, neuron] += round(max(-(2.0**19), min(2.0**19, value * inverse)) * 2**30)
        by_group = {"screen_sum": sums, "screen_squares": squares, "screen_scaled": scaled, "screen_current_sum": current_sums}
        return {"screen_token": np.array(groups, int), "screen_count": counts, "screen_current_count": current_counts, **by_group}

    def _samples(self) -> dict[str, np.ndarray]:
        """Of each tracked token 1,024 positions of lowest hash, at most four of a document."""
        found: dict[str, np.ndarray] = {}
        for outcome, met in self.met.items():
            made = {
                part: np.full((len(self.token_ids), 1024), -1 if part == "document" else 0) for part in ("document", "window", "position")
            }
            for row, token in enumerate(self.token_ids):
                places = sorted((place for watched, *place in met if watched == token), key=lambda place: (slow_hash(place), place))
                kept: list[list[int]] = []
                for place in places:
                    if sum(other[0] == place[0] for other in kept) < 4:
                        kept.append(place)
                for rank, place in enumerate(kept[:1024]):
                    for part, value in zip(made, place, strict=True):
                        made[part][row, rank] = value
            found |= {f"sampled_{outcome}_{part}": values for part, values in made.items()}
        return found

    def _moments(self) -> dict[str, np.ndarray]:
        names = ("mean", "moment_2", "moment_3", "moment_4", "minimum", "maximum", "above_zero")
        found = {name: np.zeros(self.per_unit.shape) for name in names}
        for layer, neuron in np.ndindex(*self.per_unit.shape):
            values = np.array([here[layer, neuron] for here, *_ in self.seen], dtype=np.float64)
            values = values[~np.isnan(values)]
            mean = values.mean() if values.size else 0.0
            found["mean"][layer, neuron] = mean
            with np.errstate(invalid="ignore"):  # an infinite activation leaves no finite moment
                for power in (2, 3, 4):
                    found[f"moment_{power}"][layer, neuron] = ((values - mean) ** power).sum()
            found["minimum"][layer, neuron] = values.min(initial=np.inf)
            found["maximum"][layer, neuron] = values.max(initial=-np.inf)
            found["above_zero"][layer, neuron] = (values > 0).sum()
        return found

    def _examples(self, side: str) -> dict[str, np.ndarray]:
        shape = (*self.per_unit.shape, self.ranks)
        found = {
            f"{side}_value": np.full(shape, -np.inf if side == "top" else np.inf),
            f"{side}_document": np.full(shape, -1),
            f"{side}_window": np.zeros(shape, int),
            f"{side}_position": np.zeros(shape, int),
            f"{side}_context": np.zeros((*shape, 53)),
        }
        for layer, neuron in np.ndindex(*self.per_unit.shape):
            for rank, example in enumerate(self._ranked(layer, neuron, 1 if side == "top" else -1)[: self.ranks]):
                for part, value in zip(("value", "document", "window", "position"), example, strict=True):
                    found[f"{side}_{part}"][layer, neuron, rank] = value
                found[f"{side}_context"][layer, neuron, rank] = self._context(layer, neuron, example)
        return found

    def _between(self, side: str) -> dict[str, np.ndarray]:
        """Of each octave below the outermost edge one window, by a hash of its document and then the first, shown at its extreme."""
        shape, sign = (*self.per_unit.shape, 4), 1 if side == "top" else -1
        found = {
            f"between_{side}_value": np.zeros(shape),
            f"between_{side}_document": np.full(shape, -1),
            f"between_{side}_window": np.zeros(shape, int),
            f"between_{side}_position": np.zeros(shape, int),
            f"between_{side}_context": np.zeros((*shape, 53)),
        }
        for layer, neuron in np.ndindex(*self.per_unit.shape):
            edge = self.first_bin[layer, neuron] + (self.bins if sign > 0 else 0)
            end = float(np.float32(sign * float(edge) / float(self.per_unit[layer, neuron])))
            by_window: dict[tuple[int, int], list[tuple[float, int, int, int]]] = {}
            for here, document, window, position in self.seen:
                if not np.isnan(here[layer, neuron]):
                    by_window.setdefault((document, window), []).append((float(here[layer, neuron]), document, window, position))
            extremes = [min(places, key=lambda place: (-sign * place[0], place[3])) for places in by_window.values()]
            for band in range(4 if end > 0 else 0):
                low, high = end / 2 ** (band + 1), end / 2**band if band else np.inf
                # A window of nothing but the infinity at the other end is in no band; one of the infinity at this end is in the first.
                inside = [place for place in extremes if low <= sign * place[0] and (sign * place[0] < high or band == 0)]
                if inside:
                    first = min(inside, key=lambda place: (slow_hash((place[1], 0, 0), 20250307) >> 1, place[1], place[2]))
                    for part, value in zip(("value", "document", "window", "position"), first, strict=True):
                        found[f"between_{side}_{part}"][layer, neuron, band] = value
                    found[f"between_{side}_context"][layer, neuron, band] = self._context(layer, neuron, first)
        return found

    def _random(self) -> dict[str, np.ndarray]:
        """The two counted positions of lowest hash, of two documents, and what every neuron does around them."""
        kept: list[tuple[int, int, int]] = []
        for place in sorted((tuple(place) for _, *place in self.seen), key=lambda place: (slow_hash(place, 20250309), place)):
            if len(kept) < 2 and place[0] not in [other[0] for other in kept]:
                kept.append(place)  # type: ignore[arg-type]
        found = {
            f"random_{part}": np.array([place[number] for place in kept] + [-1 if part == "document" else 0] * (2 - len(kept)))
            for number, part in enumerate(("document", "window", "position"))
        }
        found |= {"random_value": np.zeros((*self.per_unit.shape, 2)), "random_context": np.zeros((*self.per_unit.shape, 2, 53))}
        for (layer, neuron), (number, (document, window, position)) in itertools.product(np.ndindex(*self.per_unit.shape), enumerate(kept)):
            value = float(self.rows[document, window][layer, position, neuron])
            found["random_value"][layer, neuron, number] = value
            found["random_context"][layer, neuron, number] = self._context(layer, neuron, (value, document, window, position))
        return found

    def _context(self, layer: int, neuron: int, example: tuple[float, int, int, int]) -> list[float]:
        """The activations from 40 positions before an example to 12 after, as float16 has them; nothing outside its window."""
        _, document, window, position = example
        own = self.rows[document, window][layer, :, neuron]
        around = range(position - 40, position + 13)
        values = [float(own[place]) if 0 <= place < len(own) else 0.0 for place in around]
        return [float(np.float16(max(-65504.0, min(65504.0, value)))) if value == value else value for value in values]

    def _ranked(self, layer: int, neuron: int, sign: int) -> Examples:
        """Most extreme first, the best of each document only, as many as are kept."""
        seen = [(float(here[layer, neuron]), document, window, position) for here, document, window, position in self.seen]
        candidates = [example for example in seen if not np.isnan(example[0])]
        candidates.sort(key=lambda example: (-sign * example[0], *example[1:]))
        best: Examples = []
        for example in candidates:
            if example[1] not in [earlier[1] for earlier in best]:
                best.append(example)
            if len(best) == self.ranks:
                break
        return best


def within(value: float) -> float:
    """What counts of a value in sums; nothing of NaN."""
    return max(-(2.0**19), min(2.0**19, value)) if value == value else 0.0


def slow_fold(document: int) -> int:
    """The document's fold, 0 to 7."""
    return slow_hash((document, 0, 0), 20240517) % 8


def slow_shift(document: int, window: int, positions: int) -> int:
    """By how many of so many positions a window's labels are rotated: a quarter to three quarters of them."""
    allowed = [shift for shift in range(positions) if positions / 4 <= shift <= 3 * positions / 4] or [0]
    return allowed[slow_hash((document, window, 0), 20240821) % len(allowed)]


def slow_hash(place: Sequence[int], seed: int = 20230211) -> int:
    """SplitMix64's finalizer over document, window and position, in whole numbers modulo 2^64."""
    mixed = seed
    for part in place:
        mixed = ((mixed ^ part) + 0x9E3779B97F4A7C15) % 2**64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    return mixed


def run_plain_model(
    folder: Path, batches: Iterator[Batch], by_embedding: bool = False, token_ids: Sequence[int] = ()
) -> Iterator[tuple[Batch, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]]:
    """Activations [layer, row, position, neuron] and predictions [row, position] of plain Hugging Face code (eager attention), the
    model's and, if asked for, those by the embedding; and 1 over the final norm's scale, float32 [row, position]; and the probabilities of `token_ids`, [row, position, token].

    A neuron's activation is what goes into the MLP's last linear map.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager", dtype=torch.float32).eval()
    seen: list[Any] = []
    for module in mlp_outputs(model):
        module.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    streams: list[np.ndarray] = []
    final_norm(model).register_forward_pre_hook(lambda module, given: streams.append(given[0].numpy()))
    with torch.no_grad():
        for batch in batches:
            seen.clear()
            streams.clear()
            logits = model(torch.from_numpy(batch.token_ids), use_cache=False).logits
            found = slow_predictions_by_embedding(model, streams[0]) if by_embedding else None
            shares = logits.double().softmax(-1)[..., list(token_ids)].numpy()
            yield batch, torch.stack(seen).numpy(), logits.argmax(-1).numpy(), found, slow_inverse_scale(model, streams[0]), shares


def final_norm(model: Any) -> Any:
    """The norm behind the last block: `transformer.ln_f` in GPT-2, `model.norm` in Llama and its like."""
    return model.transformer.ln_f if hasattr(model, "transformer") else model.model.norm


def slow_inverse_scale(model: Any, streams: np.ndarray) -> np.ndarray:
    """1 over what the final norm divides the last residual streams [row, position, width] by: float64 to its end, then float32."""
    is_centred = type(final_norm(model)).__name__ == "LayerNorm"
    epsilon = final_norm(model).eps if is_centred else final_norm(model).variance_epsilon
    found = np.zeros(streams.shape[:2], np.float32)
    for row, position in np.ndindex(*streams.shape[:2]):
        stream = streams[row, position].astype(np.float64)
        found[row, position] = 1 / np.sqrt(((stream - (stream.mean() if is_centred else 0)) ** 2).mean() + epsilon)
    return found


def slow_predictions_by_embedding(model: Any, streams: np.ndarray) -> np.ndarray:
    """The post's top predictions, int64 [row, position], of the last residual streams [row, position, width], in float64.

    As its code had them: weights centred that write into the stream and W_E with them (LayerNorm only), a final norm left with
    centring and scaling, and the embedding in the place of the unembedding.
    """
    embedding = model.get_input_embeddings().weight.numpy().astype(np.float64)
    is_centred = type(final_norm(model)).__name__ == "LayerNorm"
    epsilon = final_norm(model).eps if is_centred else final_norm(model).variance_epsilon
    if is_centred:
        embedding = embedding - embedding.mean(1, keepdims=True)
    found = np.zeros(streams.shape[:2], np.int64)
    for row, position in np.ndindex(*streams.shape[:2]):
        stream = streams[row, position].astype(np.float64)
        if is_centred:
            stream = stream - stream.mean()
        normed = stream / np.sqrt((stream**2).mean() + epsilon)
        found[row, position] = max(range(len(embedding)), key=lambda entry: float(embedding[entry] @ normed))
    return found


def mlp_outputs(model: Any) -> list[Any]:
    """The last linear map of each layer's MLP, in order: `mlp.c_proj` in GPT-2, `mlp.down_proj` in Llama and its like."""
    return [module for name, module in model.named_modules() if name.endswith(("mlp.c_proj", "mlp.down_proj"))]


def slow_histograms(folder: Path, batches: Iterator[Batch], counts: SlowCounts) -> dict[str, np.ndarray]:
    """Every tensor of the contract, by plain Hugging Face code and one loop over positions."""
    for answered in run_plain_model(folder, batches, counts.counts_embedding, counts.token_ids):
        counts.add(*answered)
    return counts.tensors()
