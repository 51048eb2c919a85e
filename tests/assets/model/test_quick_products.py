"""Products by oneDNN: the same numbers to rounding, exactly those that PyTorch makes otherwise wherever they are not for it, and only while open."""

from collections.abc import Callable

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from assets.model import quick_products as module
from assets.model.quick_products import are_quicker, quick_products

needs_them = pytest.mark.skipif(not are_quicker(), reason="this processor has no AVX-512, so products stay MKL's")


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def is_open() -> bool:
    """Whether this thread's products are asked for."""
    return any(type(mode).__name__ == "QuickProducts" for mode in torch.overrides._get_current_function_mode_stack())


def conv1d(given: torch.Tensor) -> torch.Tensor:
    """A linear map as GPT-2's code holds it."""
    kept = Conv1D(40, given.shape[-1])
    kept.weight, kept.bias = torch.nn.Parameter(numbers(given.shape[-1], 40), False), torch.nn.Parameter(numbers(40), False)
    return kept(given)


PRODUCTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "linear": lambda given: torch.nn.functional.linear(given, numbers(40, given.shape[-1])),
    "linear with a bias": lambda given: torch.nn.functional.linear(given, numbers(40, given.shape[-1]), numbers(40)),
    "conv1d": conv1d,
    "matmul": lambda given: given @ numbers(given.shape[-1], 40),
    "of a transpose": lambda given: given @ numbers(40, given.shape[-1]).T,
}


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
@pytest.mark.parametrize("shape", [(1, 24), (0, 24), (700, 24), (3, 5, 24), (2, 3, 5, 24), (600, 1536)])
def test_the_same_numbers_to_rounding(product: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...]) -> None:
    with torch.inference_mode():
        plain = product(numbers(*shape))
        with quick_products():
            torch.testing.assert_close(product(numbers(*shape)), plain, atol=2e-4, rtol=1e-4)


@needs_them
@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_they_are_one_dnns(product: Callable[[torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.Tensor | None] = []
    own = module._linear

    def listening(*given: torch.Tensor) -> torch.Tensor | None:
        asked.append(own(*given))
        return asked[-1]

    monkeypatch.setattr(module, "_linear", listening)
    module._mode.cache_clear()
    with torch.inference_mode(), quick_products():
        found = product(numbers(600, 1536))
    module._mode.cache_clear()
    assert [None if one is None else one.data_ptr() for one in asked] == [found.data_ptr()]


LEFT: dict[str, Callable[[], torch.Tensor]] = {
    "a part of a matrix, which oneDNN multiplies one number at a time": lambda: numbers(300, 576) @ numbers(576, 900)[:, :200],
    "every second row": lambda: torch.nn.functional.linear(numbers(300, 576), numbers(400, 576)[::2]),
    "bfloat16": lambda: numbers(300, 576).bfloat16() @ numbers(576, 200).bfloat16(),
    "float64": lambda: numbers(300, 576).double() @ numbers(576, 200).double(),
    "whole numbers": lambda: torch.arange(12).view(3, 4) @ torch.arange(8).view(4, 2),
    "batches of products": lambda: numbers(4, 300, 576) @ numbers(4, 576, 200),
    "a matrix and a vector": lambda: numbers(300, 576) @ numbers(576),
    "a vector and a matrix": lambda: numbers(576) @ numbers(576, 200),
    "a sum with factors": lambda: torch.addmm(numbers(200), numbers(300, 576), numbers(576, 200), beta=2.0),
    "a bias by its name": lambda: torch.nn.functional.linear(numbers(300, 576), numbers(200, 576), bias=numbers(200)),
    "memory for the result": lambda: torch.mm(numbers(300, 576), numbers(576, 200), out=torch.empty(300, 200)),
    "a sum with a matrix": lambda: torch.addmm(numbers(300, 200), numbers(300, 576), numbers(576, 200)),
}


@pytest.mark.parametrize("product", LEFT.values(), ids=LEFT)
def test_what_is_not_for_one_dnn_has_the_bits_it_had(product: Callable[[], torch.Tensor]) -> None:
    plain = product()
    with quick_products():
        assert torch.equal(product(), plain)


def test_a_gradient_is_as_it_was() -> None:
    def gradient() -> torch.Tensor:
        given = numbers(300, 576).requires_grad_()
        torch.nn.functional.linear(given, numbers(200, 576)).square().sum().backward()
        assert given.grad is not None
        return given.grad

    plain = gradient()
    with quick_products():
        assert torch.equal(gradient(), plain)


def test_only_while_open_and_not_after_a_fault() -> None:
    def product() -> torch.Tensor:
        return numbers(300, 576) @ numbers(576, 200)

    plain = product()
    with pytest.raises(KeyError), quick_products():
        raise KeyError
    assert torch.equal(product(), plain)
    with quick_products():
        with quick_products():
            assert is_open() == are_quicker()
        assert is_open() == are_quicker()
    assert not is_open()
    assert torch.equal(product(), plain)


def test_where_the_processor_has_not_the_instructions_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": False})
    are_quicker.cache_clear()
    plain = numbers(300, 576) @ numbers(576, 200)
    try:
        with quick_products():
            assert torch.equal(numbers(300, 576) @ numbers(576, 200), plain)
    finally:
        are_quicker.cache_clear()
