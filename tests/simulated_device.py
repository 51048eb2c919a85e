"""An accelerator that is not there: tensors on the CPU, some of which count as being on a device, and what a real one refuses.

The model's weights, what is made with `device=` or moved with `.to(...)`, and all that comes of them, is on the device; what is made
without it, and what `.cpu()` gives, is not. A call that mixes the two, or reads device memory as NumPy, fails as on a real device.
Coarse where it must be: 0-dimensional tensors mix with both, and `.to(...)` always moves to the device. Holds no test.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

COPIES = ("copy_", "to", "cpu", "set_")  # may have tensors of both kinds


class MixedDevicesError(AssertionError):
    """What a real device would have refused."""


class SimulatedDevice(TorchFunctionMode):
    """While open, every call of torch is judged by where its tensors are."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self._is_on_device = WeakTensorKeyDictionary()  # a tensor that is not in it was made where torch cannot be watched: not judged
        for tensor in (*module.parameters(), *module.buffers()):
            self._is_on_device[tensor] = True
        self.judged = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        name = getattr(func, "__name__", str(func))
        self._judge(name, args, given)
        result = func(*args, **kwargs)
        if name in ("cpu", "to") and isinstance(result, torch.Tensor) and any(result is tensor for tensor in given):
            result = result.view(result.shape)  # a copy, on a real device
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and not any(tensor is other for other in given):
                place = self._place(name, args, kwargs, given)
                if place is not None:
                    self._is_on_device[tensor] = place
        return result

    def on_the_cpu(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, known from now on to be on the CPU."""
        self._is_on_device[tensor] = False
        return tensor

    def _places(self, tensors: Sequence[torch.Tensor]) -> set[bool]:
        return {self._is_on_device[tensor] for tensor in tensors if tensor in self._is_on_device and tensor.ndim}

    def _judge(self, name: str, args: Any, given: Sequence[torch.Tensor]) -> None:
        self.judged += 1
        if name in ("numpy", "__array__") and self._is_on_device.get(given[0]):
            raise MixedDevicesError(f"{name} of a tensor on the device; copy it with .cpu() first")
        if name in COPIES:
            return
        if name in ("__getitem__", "__setitem__"):
            indices = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, torch.Tensor)]
            if self._places(indices) == {True} and self._is_on_device.get(given[0]) is False:
                raise MixedDevicesError(f"{name} of a tensor on the CPU with an index on the device")
            values = [leaf for leaf in tree_leaves(args[2:]) if isinstance(leaf, torch.Tensor)]
            given = [given[0], *values] if indices and values else []  # without index tensors, a value is copied over
        if len(self._places(given)) == 2:
            raise MixedDevicesError(
                f"{name} mixes tensors on the device and on the CPU: shapes {[tuple(tensor.shape) for tensor in given]}"
            )

    def _place(self, name: str, args: Any, kwargs: Any, given: Sequence[torch.Tensor]) -> bool | None:
        """Whether the result is on the device; None where nothing is known of what it was made of."""
        if name == "cpu":
            return False
        if name == "to" and (kwargs.get("device") is not None or any(isinstance(value, torch.device | str) for value in args)):
            return True
        if not given:
            return kwargs.get("device") is not None
        known = [self._is_on_device[tensor] for tensor in given if tensor in self._is_on_device]
        return any(known) if known else None


@contextmanager
def simulated_device(module: torch.nn.Module) -> Iterator[SimulatedDevice]:
    """While open, the module's weights are on a device that is not the CPU."""
    device = SimulatedDevice(module)
    from_numpy = torch.from_numpy  # torch does not let this one be watched: NumPy's memory is always the CPU's

    def placed(ndarray: Any) -> torch.Tensor:
        return device.on_the_cpu(from_numpy(ndarray))

    torch.from_numpy = placed
    try:
        with device:
            yield device
    finally:
        torch.from_numpy = from_numpy
