"""The kernels beside the compiled loops of the CPU on the same stored activations, what decides whether they are used, and what a
GPU's compiler makes of them. They run in Triton's interpreter here: none of these tests has seen a GPU."""

import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from assets.counting import kernel_counter
from assets.counting.batch_counter import Answers
from assets.counting.device_counter import DeviceCounter
from assets.counting.histograms import MOMENTS, ActivationBins
from assets.counting.kernel_counter import (
    KernelCounter,
    KernelOutcomeSums,
    KernelSums,
    are_kernels_usable,
    device_counter_of,
    differing_tensors,
    new_device_sums,
)
from assets.counting.token_sums import DeviceSums, GroupedPlaces, GroupSums, TokenSums, group_of_token, group_tokens
from tests.assets.counting.made_batches import (
    VOCABULARY,
    add,
    counter_of,
    inverse_scale_of,
    made_batch,
    made_bins,
    random_batches,
    tensors_of,
)

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: make setup-kernels, on Linux"
)
CPU, NOWHERE = torch.device("cpu"), torch.device("meta")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.fixture
def tried_anew() -> Iterator[None]:
    """Without what earlier trials of a device found."""
    are_kernels_usable.cache_clear()
    yield
    are_kernels_usable.cache_clear()


def stored_activations(seed: int, positions: int, neurons: int, dtype: torch.dtype) -> torch.Tensor:
    """[layer, row, position, neuron] with ties, NaN, infinities, almost 0, a neuron that is NaN throughout and one far from 0."""
    random = np.random.default_rng(seed)
    values = random.normal(0, 6, (2, 3, positions, neurons)).round(1).astype(np.float32)
    unusual = random.random(values.shape)
    values[unusual < 0.02], values[unusual > 0.98] = np.nan, -1e-45
    values[..., 0] = np.nan
    values[0, 0, positions // 2, 1], values[1, 1, 1, 2], values[1, 0, 2, 2] = np.inf, -np.inf, np.inf
    values[..., 3] = 4096 + random.integers(0, 2, values.shape[:-1])
    values[..., 4] = -2.0
    return torch.from_numpy(values).to(dtype)


@needs_triton
@pytest.mark.parametrize(
    ("dtype", "bins", "count_bos", "positions"),
    [
        ("float32", 80, False, 8),
        ("float32", 300, True, 136),
        ("bfloat16", 80, True, 24),
        ("bfloat16", 253, False, 130),
        ("float16", 254, False, 40),
    ],
)
def test_integers_extremes_and_examples_are_those_of_the_compiled_loops(dtype: str, bins: int, count_bos: bool, positions: int) -> None:
    neurons, random = 37, np.random.default_rng(bins)
    per_unit, first_bin = random.uniform(0.3, 30, (2, neurons)).astype(np.float32), random.integers(-40, 2, (2, neurons)).astype(np.int32)
    made = ActivationBins(per_unit, first_bin, bins)
    kernel, compiled = (counter_of(kind, made, token_ids=(1, 5, 2), count_bos=count_bos) for kind in ("kernel", "compiled"))
    for place in range(2):
        batch = made_batch(random.integers(0, VOCABULARY, (3, positions)), [positions, 3, 0], [place, 2, -1], [0, place, 0])
        activations = stored_activations(place, positions, neurons, DTYPES[dtype])
        predictions = torch.from_numpy(random.integers(0, VOCABULARY, (3, positions)))
        for counter in (kernel, compiled):
            counter.start(batch)
            for layer in range(2):
                counter.add_layer(layer, activations[layer])
            counter.add_answers(Answers(predictions))
    found, expected = tensors_of(kernel), tensors_of(compiled)
    assert expected["top_prediction_count"].any()
    assert found.keys() == expected.keys()
    for name in expected.keys() - set(MOMENTS):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    for name in MOMENTS:
        scale = np.abs(expected[name][np.isfinite(expected[name])]).max()
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12 * scale, err_msg=name)  # NaN where NaN, too


@needs_triton
def test_a_window_is_offered_to_full_ranks_a_document_once_and_in_any_order() -> None:
    kernel, slow = (counter_of(kind, made_bins(1, 3), examples=4) for kind in ("kernel", "slow"))
    random = np.random.default_rng(3)
    for window in range(6):  # few values, few documents: ties, better and worse windows of documents that are held already
        documents = random.integers(0, 7, 5)
        batch = made_batch(np.zeros((5, 4)), [4] * 5, documents, 10 * window + np.arange(5))
        values = random.integers(-3, 4, (1, 5, 4, 3)).astype(np.float32)
        for counter in (kernel, slow):
            add(counter, batch, values, np.zeros((5, 4), int))
    found, expected = tensors_of(kernel), tensors_of(slow)
    for side in ("top", "bottom"):
        for part in ("value", "document", "window", "position"):
            np.testing.assert_array_equal(found[f"{side}_{part}"], expected[f"{side}_{part}"], err_msg=f"{side}_{part}")


@needs_triton
def test_the_same_batches_give_the_same_bits_again() -> None:
    first, second = (counter_of("kernel", made_bins(1, 40)) for _ in range(2))
    for counter in (first, second):
        for batch in random_batches(5, 1, 40, number=2):
            add(counter, *batch)
    for name, values in tensors_of(first).items():
        assert values.tobytes() == tensors_of(second)[name].tobytes(), name


@needs_triton
def test_no_tracked_token_leaves_the_plain_counts() -> None:
    counter = counter_of("kernel", made_bins(1, 2), token_ids=(), count_bos=True)
    add(counter, made_batch([[0, 0]], [2], [0], [0]), np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 2), int))
    tensors = tensors_of(counter)
    assert tensors["count"][0, :, 5].tolist() == [2, 2]
    assert tensors["top_prediction_count"].shape == (0, 1, 2, 80)


@needs_triton
@pytest.mark.slow
def test_a_small_trial_finds_the_kernels_right_and_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert differing_tensors(CPU, neurons=35) == []
    monkeypatch.setattr(kernel_counter, "first_counted", lambda count_bos: 0)
    assert "count" in differing_tensors(CPU, neurons=35)


class Launches:
    """In place of a kernel: notes that it was launched and on what kinds of tensor, and computes nothing."""

    def __init__(self) -> None:
        self.devices: list[str] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*arguments: Any, **options: Any) -> None:
            self.devices += [argument.device.type for argument in arguments if isinstance(argument, torch.Tensor)]

        return launch


@needs_triton
@pytest.mark.usefixtures("numbers_arrive")
def test_nothing_around_the_launches_needs_to_know_what_a_tensor_of_the_device_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    import assets.counting.kernels as kernels

    launches = Launches()
    for name in ("count_tiles", "merge_tiles", "count_tracked", "add_groups", "add_rows"):
        monkeypatch.setattr(kernels, name, launches)
    inner = KernelCounter(made_bins(2, 5), (1, 2), VOCABULARY, count_bos=False, examples=3, device=NOWHERE)
    groups, tokens = group_of_token(VOCABULARY, [1, 4], range(1, 3)), group_tokens([1, 4], range(1, 3))
    sums = KernelOutcomeSums(("next_token",), (1, 2), VOCABULARY, 2, 5, device=NOWHERE, threads=0)
    counter = TokenSums(inner, 2, 5, groups, tokens, KernelSums(), count_bos=False, device=NOWHERE, outcome_sums=sums)
    for batch, activations, predictions in random_batches(0, 2, 5):
        counter.start(batch)
        for layer in range(2):
            counter.add_layer(layer, torch.from_numpy(activations[layer]).to(NOWHERE))
        scale = torch.from_numpy(inverse_scale_of(predictions)).to(NOWHERE)
        counter.add_answers(Answers(torch.from_numpy(predictions).to(NOWHERE), inverse_scale=scale))
    assert set(launches.devices) == {"meta"}


def of_device(name: str) -> DeviceCounter:
    device = torch.device(name)
    return device_counter_of(device)(made_bins(1, 2), (), VOCABULARY, count_bos=False, examples=1, device=device)


def test_a_device_that_has_no_triton_counts_by_tensor_operations(tried_anew: None) -> None:
    assert type(of_device("meta")) is DeviceCounter
    assert type(new_device_sums(NOWHERE)) is DeviceSums


@pytest.mark.parametrize(
    ("outcome", "told"),
    [(["count", "mean"], "(count, mean)"), (RuntimeError("Failed to find C compiler"), "RuntimeError: Failed to find C compiler")],
)
def test_kernels_that_fail_or_differ_are_not_used_and_that_is_told_once(
    outcome: Any, told: str, tried_anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def trial(device: torch.device) -> list[str]:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(kernel_counter, "differing_tensors", trial)
    monkeypatch.setattr(kernel_counter.importlib.util, "find_spec", lambda name: name)
    with caplog.at_level(logging.WARNING):
        assert [are_kernels_usable(torch.device("cuda", 1)) for _ in range(2)] == [False, False]
    assert [told in message for message in caplog.messages] == [True]


def test_kernels_that_pass_the_trial_are_used_without_a_word(
    tried_anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernel_counter, "differing_tensors", lambda device: [])
    monkeypatch.setattr(kernel_counter.importlib.util, "find_spec", lambda name: name)
    assert are_kernels_usable(torch.device("cuda", 1))
    assert caplog.messages == []


COMPILED = """
import json, os, subprocess, sys, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import assets.counting.kernels as kernels
from assets.counting.token_sum_units import LARGEST, SCALED_UNITS, UNITS

POINTERS = {
    "*fp64": "sums moment_1 moment_2 moment_3 moment_4",
    "*fp32": "per_unit first_bin extremes minimum maximum top_values bottom_values inverse_scale outermost_top outermost_bottom"
    " between_values_top between_values_bottom",
    "*i32": "wholes windows top_windows top_positions bottom_windows bottom_positions count between_windows_top between_positions_top"
    " between_windows_bottom between_positions_bottom",
    "*i64": "lengths blocks documents values above top_documents bottom_documents places tracked groups squares scaled"
    " keys keys_top keys_bottom between_documents_top between_documents_bottom",
    "*u8": "slots",
    "*bf16": "activations",
    "i32": "first positions neurons tiles_of_row steps rows number block_stride",
}
kind_of = {name: kind for kind, names in POINTERS.items() for name in names.split()}

def told(kernel, warps, own_kinds={}, **constants):
    kinds = kind_of | own_kinds
    source = ASTSource(kernel, {name: kinds.get(name, "constexpr") for name in kernel.arg_names}, constants)
    options = {"num_warps": warps, **kernels.OPTIONS}
    compiled = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        tool = os.path.join(os.path.dirname(triton.__file__), "backends", "nvidia", "bin", "cuobjdump")
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return {"ptx": compiled.asm["ptx"], "usage": usage}

print(json.dumps({
    "count_tiles": told(kernels.count_tiles, kernels.TILE_WARPS, BINS=80, LANES=kernels.LANES, NEURONS=kernels.TILE_NEURONS),
    "merge_tiles": told(kernels.merge_tiles, kernels.MERGE_WARPS, RANKS=10, BANDS=4, NEURONS=kernels.MERGED_NEURONS),
    "count_tracked": told(kernels.count_tracked, 4, {"rows": "*i64"}, BINS=80, NEURONS=kernels.TRACKED_NEURONS, SHARES=kernels.TRACKED_SHARES),
    "add_groups": told(
        kernels.add_groups, 4, {"sums": "*i64"}, UNITS=UNITS, SCALED_UNITS=SCALED_UNITS, LARGEST=LARGEST,
        NEURONS=kernels.GROUPED_NEURONS, SHARE=kernels.GROUPED_POSITIONS,
    ),
    "add_rows": told(
        kernels.add_rows, 4, {"sums": "*i64", "rows": "*i64"}, UNITS=SCALED_UNITS, LARGEST=LARGEST, IS_SCALED=True,
        NEURONS=kernels.GROUPED_NEURONS, SHARE=kernels.GROUPED_POSITIONS,
    ),
}))
"""


@needs_triton
@pytest.mark.parametrize("capability", ["80", "90"])
def test_the_compiler_for_gpus_takes_the_kernels_keeps_every_rounding_and_spills_no_register(capability: str, tmp_path: Any) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", COMPILED, capability], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    for name, compiled in json.loads(run.stdout).items():
        assert "fma" not in compiled["ptx"], f"{name}: a product and a sum were made one rounding"
        assert ".ftz" not in compiled["ptx"], f"{name}: a number below the normal range would be taken for 0"
        assert "STACK:0 " in compiled["usage"], f"{name}: {compiled['usage']}"
    assert "cvt.rmi.f32.f32" in json.loads(run.stdout)["count_tiles"]["ptx"]  # the floor of a slot


@needs_triton
def test_sums_by_predicted_token_leave_out_the_groups_of_another_pass() -> None:
    activations = stored_activations(1, 40, 300, torch.bfloat16)
    random = torch.Generator().manual_seed(0)
    places = torch.randperm(120, generator=random)[:97]
    groups, null_groups, current_groups = (torch.randint(-1, 3, (97,), generator=random) for _ in range(3))
    grouped = GroupedPlaces(places, groups, null_groups, current_groups, torch.randint(0, 3, (97,), generator=random))
    scale = torch.rand(1, 120, generator=random)
    found, expected = (torch.zeros(6, 5, 3, 300, dtype=torch.int64) for _ in range(2))  # a layer more on both sides stays empty
    for kept, sums in ((found, KernelSums()), (expected, DeviceSums())):
        unused = torch.zeros(0)
        sums(list(activations), grouped, scale, GroupSums(unused.numpy(), unused, unused, unused, *kept[:, 1:3]))
    assert expected[:, 1:3].any(-1).all()
    assert torch.equal(found, expected)


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: torch.cuda.is_available() is False")
def test_compiled_kernels_on_a_gpu_count_what_tensor_operations_count() -> None:
    script = "import torch; from assets.counting.kernel_counter import differing_tensors as d; print(d(torch.device('cuda')))"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert (run.returncode, run.stdout.strip()) == (0, "[]"), run.stderr
