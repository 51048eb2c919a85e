"""What the plan of memory is made from: a model's sizes out of its folder's headers, a study's counters, a shard's largest batch.

Reads the configuration and the headers of safetensors files, never a weight.
"""

import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from assets.counting.batches import block_sizes, padded_lengths, rows_of_batch
from assets.counting.document_blocks import FOLDS, UNKNOWN_SIZES
from assets.counting.histograms import HistogramError
from assets.histograms.machine_memory import available_bytes
from assets.histograms.memory_plan import MemoryPlan, PlannedModel, PlannedPass, plan_memory, size
from assets.histograms.screened_tokens import screened_number
from assets.model.loading import choose_device
from assets.model.quick_products import are_quicker
from assets.model.split_maps import HELD_AT_MOST, LEAST_WEIGHTS
from assets.study import CalibratedBins, ModelChoice, Study

ITEMSIZE = {"float32": 4, "bfloat16": 2, "float16": 2}
STORED = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
EMBEDDING = re.compile(r"embed|wpe")  # of tokens or positions
# One matrix for queries, keys and values in the file: the bridge keeps the three parts beside it.
JOINT = re.compile(r"(c_attn|query_key_value|qkv_proj|Wqkv)\.weight$")


def planned_model(folder: Path, choice: ModelChoice) -> PlannedModel | None:
    """Sizes of the model in a `save_pretrained` folder, loaded as chosen; None where its configuration names them in another way."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    config = config.get("text_config", config)
    width, heads = _named(config, "hidden_size", "n_embd", "d_model"), _named(config, "num_attention_heads", "n_head", "num_heads")
    layers, vocabulary = _named(config, "num_hidden_layers", "n_layer", "num_layers"), _named(config, "vocab_size")
    if not (width and heads and layers and vocabulary):
        return None
    neurons = _named(config, "intermediate_size", "n_inner", "ffn_dim") or 4 * width  # GPT-2's n_inner is null for 4 x width
    weights, prepacked = weight_bytes(folder, choice.dtype), prepacked_bytes(folder, choice, vocabulary)
    return PlannedModel(layers, neurons, width, heads, vocabulary, weights, ITEMSIZE[choice.dtype], prepacked)


def _named(config: dict[str, Any], *names: str) -> int:
    return next((int(config[name]) for name in names if config.get(name)), 0)


def weight_bytes(folder: Path, dtype: str) -> int:
    """Bytes of all weights once loaded: in `dtype`, joint attention weights twice, and as stored too where that is another dtype."""
    total = 0
    for name, tensor in _stored_tensors(folder):
        numbers, stored = prod(tensor["shape"]), STORED.get(tensor["dtype"], 4)
        copies = 2 if JOINT.search(name) else 1
        total += numbers * (copies * ITEMSIZE[dtype] + (stored if stored != ITEMSIZE[dtype] else 0))
    return total


def prepacked_bytes(folder: Path, choice: ModelChoice, vocabulary: int) -> int:
    """Bytes of the linear maps that are held a second time, rearranged: every matrix but those of vocabulary entries.

    Of plain maps those that split_maps holds with inputs first, where it is used: not in GPT-2, whose weights lie so.
    """
    shapes = {name: tensor["shape"] for name, tensor in _stored_tensors(folder)}
    maps = {name: prod(shape) for name, shape in shapes.items() if len(shape) == 2 and vocabulary not in shape}
    if choice.linear_maps == "prepacked":
        return ITEMSIZE["float32"] * sum(maps.values())
    lie_so = json.loads((folder / "config.json").read_text()).get("model_type") == "gpt2"
    if lie_so or choice.dtype != "float32" or not are_quicker() or choose_device(choice.device) != "cpu":
        return 0
    # Embeddings of positions are no maps: with them the limit would be passed in the plan alone, and nothing planned of what is held.
    held = ITEMSIZE["float32"] * sum(numbers for name, numbers in maps.items() if numbers >= LEAST_WEIGHTS and not EMBEDDING.search(name))
    return held if held <= HELD_AT_MOST else 0


def _stored_tensors(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and header entry (dtype, shape) of every tensor in the folder's safetensors files."""
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header: dict[str, Any] = json.loads(opened.read(length))
        yield from ((name, tensor) for name, tensor in header.items() if name != "__metadata__")


def planned_pass(
    study: Study, model: PlannedModel, context_length: int, windows: pl.DataFrame | None = None, domains: int = 1
) -> PlannedPass:
    """What the study counts of these windows; without windows, of a shard that holds one full batch of the longest.

    `context_length` is the model's own, `domains` how many the corpus has. Counters are those of the CPU (tell_plan knows the device),
    of 4 bytes where no windows say that fewer do.
    """
    bins = study.bins
    longest = study.corpus.context_length if windows is None else int(windows["length"].max() or 1)  # type: ignore[arg-type]
    (length,) = padded_lengths(np.array([longest]), context_length).tolist()
    rows = rows_of_batch(length, study.batch_positions, os.cpu_count() or 1, model.neurons)
    sizes = UNKNOWN_SIZES if windows is None else block_sizes(windows, domains, study.count_bos)
    return PlannedPass(
        blocks=domains * FOLDS,
        counter=np.dtype(sizes.dtype).itemsize,
        null_counter=np.dtype(sizes.null_dtype).itemsize,
        bins=bins.calibrated if isinstance(bins, CalibratedBins) else round((bins.high - bins.low) * bins.per_unit),
        tokens=len(study.tokens),
        screened=screened_number(study.screen, model.layers, model.neurons, model.vocabulary),
        examples=study.examples,
        rows=rows,
        length=length,
        shard_tokens=rows * length if windows is None else int(windows["length"].sum()),
        embedding_predictions=study.embedding_predictions,
        outcomes=study.further_outcomes,
        kept_positions=study.kept_positions,
    )


def tell_plan(
    study: Study, model: PlannedModel, counted: PlannedPass, device: str, tell: Callable[[str], None], shard: str | None = None
) -> MemoryPlan:
    """The plan within the study's memory, or within what the machine has available, told as a table; of a shard in one line.

    Raises HistogramError that names the study where it does not fit.
    """
    if not device.startswith("cpu"):
        counted = replace(counted, counter=4, null_counter=4, is_on_device=True)  # counters that a GPU can add to
    budget = available_bytes(device) if study.memory is None else int(study.memory)
    try:
        plan = plan_memory(model, counted, budget)
    except HistogramError as error:
        raise HistogramError(f"study {study.name}: {error}") from None
    source = "the machine's available memory" if study.memory is None else "the study's memory"
    if shard is None:
        tell("\n".join([f"memory planned ({source}):", *plan.lines()]))
    else:
        tell(f"shard {shard}: memory planned: at most {size(plan.peak)} of {size(plan.budget)} ({source})")
    if plan.passes > 1:
        tell(f"the counters do not fit at once: {plan.passes} passes over the shard, {plan.layer_parts} shares of the layers x "
             f"{plan.token_parts} shares of the tokens")  # fmt: skip
    return plan
