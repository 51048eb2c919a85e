"""Chunks of up to 64 KiB are read and written at once, without a thread for each: what Zarr does with a chunk, in fewer steps.

Zarr 3.1 hands every file and every compression to another thread. For a chunk of a few hundred bytes that takes 1.6 ms to read and 2.5 to write,
of which two thirds are the handing over (docs/decisions/0050-small-chunks-at-once.md); a chunk of 4 MiB gains from the threads and goes Zarr's way.
What a chunk holds, and when it has no file, is not decided here: the files are the same to the byte. Holds no shape and no tensor's name.
"""

import functools
from collections.abc import Iterable
from math import prod
from typing import Any

from zarr.core.codec_pipeline import BatchedCodecPipeline, fill_value_or_default
from zarr.storage import LocalStore

SMALL = 64 * 2**10  # bytes of a chunk before it is compressed


class SmallChunks(BatchedCodecPipeline):
    """Zarr's own pipeline, which this one asks wherever a chunk is large, written in part, or not in a folder of this machine."""

    async def read(self, batch_info: Iterable[Any], out: Any, drop_axes: tuple[int, ...] = ()) -> None:
        """Fill `out` with the chunks that are asked for; those without a file hold their array's fill value."""
        chunks = list(batch_info)
        if not all(_is_small(place, spec) for place, spec, *_ in chunks):
            await super().read(chunks, out, drop_axes)
            return
        for place, spec, of_chunk, of_out, _ in chunks:
            chunk = self._read_chunk(place, spec)
            if chunk is None:
                out[of_out] = fill_value_or_default(spec)
            else:
                out[of_out] = chunk[of_chunk].squeeze(axis=drop_axes) if drop_axes else chunk[of_chunk]

    async def write(self, batch_info: Iterable[Any], value: Any, drop_axes: tuple[int, ...] = ()) -> None:
        """Write whole chunks; one that holds nothing but the fill value gets no file."""
        chunks = list(batch_info)
        if not all(is_whole and _is_small(place, spec) and _fills(value[of_value], spec) for place, spec, _, of_value, is_whole in chunks):
            await super().write(chunks, value, drop_axes)
            return
        for place, spec, _, of_value, _ in chunks:
            chunk = value[of_value].reshape(spec.shape)
            if chunk.all_equal(fill_value_or_default(spec)):
                place.delete_sync()
            else:
                place.set_sync(self._encoded(chunk, spec))

    def _read_chunk(self, place: Any, spec: Any) -> Any:
        content = place.get_sync(prototype=spec.prototype)
        if content is None:
            return None
        for codec in reversed(self.bytes_bytes_codecs):
            content = codec._decode_sync(content, spec)  # type: ignore[attr-defined] # of zarr.abc.codec.SupportsSyncCodec, as below
        return self.array_bytes_codec._decode_sync(content, spec)  # type: ignore[attr-defined]

    def _encoded(self, chunk: Any, spec: Any) -> Any:
        content = self.array_bytes_codec._encode_sync(chunk, spec)  # type: ignore[attr-defined]
        for codec in self.bytes_bytes_codecs:
            content = codec._encode_sync(content, spec)  # type: ignore[attr-defined]
        return content


def _is_small(place: Any, spec: Any) -> bool:
    return isinstance(place.store, LocalStore) and _bytes_of(spec) <= SMALL


def _bytes_of(spec: Any) -> int:
    return prod(spec.shape) * int(spec.dtype.to_native_dtype().itemsize)


def _fills(value: Any, spec: Any) -> bool:
    """Whether a value is a whole chunk: the last one along an axis may reach beyond its array."""
    return prod(value.shape) == prod(spec.shape)


@functools.cache
def use_small_chunks() -> None:
    """From now on arrays that this process opens are read and written so."""
    import zarr
    from zarr.registry import register_pipeline

    register_pipeline(SmallChunks)
    zarr.config.set({"codec_pipeline.path": f"{SmallChunks.__module__}.{SmallChunks.__qualname__}"})
