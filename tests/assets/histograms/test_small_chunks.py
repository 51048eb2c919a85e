"""Small chunks beside Zarr's own pipeline: the same files to the byte, and the same values read, whatever the shapes and the selection."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from assets.histograms import small_chunks
from assets.histograms.small_chunks import SmallChunks, use_small_chunks

OWN = f"{SmallChunks.__module__}.{SmallChunks.__qualname__}"
ZARRS = "zarr.core.codec_pipeline.BatchedCodecPipeline"


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[Any, ...]], int]:
    """A shape, its chunks, selections to write and read, and a seed; chunks need not divide the shape."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    chunks = tuple(draw(st.integers(1, length)) for length in shape)
    one = st.one_of(
        *[st.just(slice(None))] * 2, st.integers(0, 5), st.tuples(st.integers(0, 5), st.integers(0, 6)).map(lambda ends: slice(*ends))
    )
    selections = draw(st.lists(st.tuples(*[one] * len(shape)), min_size=1, max_size=4))
    inside = [
        tuple(min(at, length - 1) if isinstance(at, int) else at for at, length in zip(chosen, shape, strict=True)) for chosen in selections
    ]
    return shape, chunks, inside, draw(st.integers(0, 2**16))


def array_of(folder: Any, pipeline: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str) -> zarr.Array[Any]:
    use_small_chunks()
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        group = zarr.open_group(folder, mode="a", zarr_format=3)
        return group.create_array("made", shape=shape, chunks=chunks, dtype=dtype, fill_value=-1, compressors=BloscCodec(cname="lz4"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@given(case=cases(), dtype=st.sampled_from(["int8", "int64", "float32"]))
def test_files_and_values_are_those_of_zarrs_own_pipeline(tmp_path_factory: pytest.TempPathFactory, case: Any, dtype: str) -> None:
    shape, chunks, selections, seed = case
    generator = np.random.default_rng(seed)
    folders = [tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("zarrs")]
    own, zarrs = (array_of(str(folder), pipeline, shape, chunks, dtype) for folder, pipeline in zip(folders, (OWN, ZARRS), strict=True))
    for selection in selections:
        values = generator.integers(-1, 3, np.empty(shape)[selection].shape).astype(dtype)
        own[selection] = zarrs[selection] = values
        assert files(folders[0]) == files(folders[1])
    for selection in [*selections, (slice(None),) * len(shape)]:
        np.testing.assert_array_equal(own[selection], zarrs[selection])


@pytest.mark.parametrize("chunks", [(1, 3, 4), (2, 3, 4)])
def test_rows_by_their_numbers_are_those_of_zarrs_own_pipeline(tmp_path: Path, chunks: tuple[int, ...]) -> None:
    """The same row twice is as many values as a chunk has, and does not fill it; an axis of one row is dropped behind the chunk."""
    own, zarrs = (
        array_of(str(tmp_path / name), pipeline, (2, 3, 4), chunks, "int64") for name, pipeline in (("own", OWN), ("zarrs", ZARRS))
    )
    for rows in (np.array([0, 1, 2]), np.array([1, 1, 2])):
        own.oindex[0, rows] = zarrs.oindex[0, rows] = np.arange(12).reshape(3, 4) + rows[0]
        assert files(tmp_path / "own") == files(tmp_path / "zarrs")
        np.testing.assert_array_equal(own.oindex[0, rows], zarrs.oindex[0, rows])
    np.testing.assert_array_equal(own.oindex[np.array([0, 1]), 1], zarrs.oindex[np.array([0, 1]), 1])


@pytest.mark.parametrize("kind", ["large", "in memory"])
def test_large_chunks_and_other_stores_go_zarrs_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    array = array_of(MemoryStore() if kind == "in memory" else str(tmp_path), OWN, (2, 8), (1, 8), "int64")
    if kind == "large":
        monkeypatch.setattr(small_chunks, "SMALL", 63)
    monkeypatch.setattr(SmallChunks, "_encoded", lambda *_: pytest.fail("a chunk was written here"))
    monkeypatch.setattr(SmallChunks, "_read_chunk", lambda *_: pytest.fail("a chunk was read here"))
    array[:] = np.arange(16).reshape(2, 8)
    np.testing.assert_array_equal(array[1], np.arange(8, 16))


def test_a_small_chunk_is_written_and_read_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = array_of(str(tmp_path), OWN, (2, 8), (1, 8), "int64")
    monkeypatch.setattr(small_chunks.BatchedCodecPipeline, "write", lambda *_: pytest.fail("Zarr's own way"))
    monkeypatch.setattr(small_chunks.BatchedCodecPipeline, "read", lambda *_: pytest.fail("Zarr's own way"))
    array[0] = np.arange(8)
    np.testing.assert_array_equal(array[:], [np.arange(8), [-1] * 8])


def test_a_damaged_small_chunk_is_not_read_as_something_else(tmp_path: Path) -> None:
    array = array_of(str(tmp_path), OWN, (1, 8), (1, 8), "int64")
    array[:] = np.arange(8)[None]
    chunk = tmp_path / "made" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:10])
    with pytest.raises(Exception, match=r"blosc|decompress|buffer|size"):
        array[:]
