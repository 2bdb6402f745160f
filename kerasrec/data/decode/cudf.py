"""Frames on an NVIDIA GPU: cuDF (its lean part, pylibcudf) decodes row groups there, CuPy does the rest.

Two streams, one for reading pools and one for gathering batches, each waited for before its result is handed
over: whoever has an array may use it in any stream. The other way round, frameworks free an array when Python no
longer refers to it, though their kernels may still have to read it: `lend` keeps each batch until they are done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasrec.data.decode.arrow import Batch, Frame, Layout, Rows
from kerasrec.data.decode.device import Decoded, DeviceFrames
from kerasrec.data.files.discovery import Chunk
from kerasrec.parallel import comm
from kerasrec.schema import Column

if TYPE_CHECKING:
    import pylibcudf


class CudfFrames(DeviceFrames):
    """`engine="cudf"` of a loader, on CUDA's current device.

    RMM's current memory resource is replaced by an asynchronous one where it is still the plain default, which
    would stop the device at each allocation.

    Args:
        wide: as `DeviceFrames`'.

    Raises:
        ImportError: cuDF or CuPy is not installed.
        RuntimeError: there is no GPU, or a rank of several sees more than its own.
    """

    def __init__(self, wide: bool) -> None:
        try:
            import cupy
            import pylibcudf  # noqa: F401
            import rmm.mr
        except ImportError as error:
            raise ImportError(
                f'engine="cudf" needs cuDF and CuPy ({error}): pip install "kerasrec[gpu]", or use engine="arrow"'
            ) from error
        devices = _devices(cupy)
        if comm.size() > 1 and devices > 1:
            raise RuntimeError(
                f'engine="cudf": rank {comm.rank()} sees {devices} GPUs, and each rank must see its own alone; '
                "set CUDA_VISIBLE_DEVICES to HOROVOD_LOCAL_RANK before TensorFlow and kerasrec are imported"
            )
        super().__init__(cupy, self._decode, wide)
        self._device = cupy.cuda.Device()
        with self._device:
            if isinstance(rmm.mr.get_current_device_resource(), rmm.mr.CudaMemoryResource):
                rmm.mr.set_current_device_resource(rmm.mr.CudaAsyncMemoryResource())
            self._reading = cupy.cuda.Stream(non_blocking=True)
            self._gathering = cupy.cuda.Stream(non_blocking=True)

    def read(self, chunks: Sequence[Chunk], layout: Layout, permute: bool) -> Frame:
        with self._done_on(self._reading):
            return super().read(chunks, layout, permute)

    def gather(self, pieces: Sequence[tuple[Frame, Rows]], layout: Layout) -> Batch:
        with self._done_on(self._gathering):
            return super().gather(pieces, layout)

    def wait(self) -> None:
        self._device.synchronize()

    @contextmanager
    def _done_on(self, stream: Any) -> Iterator[None]:
        try:
            with self._device, stream:
                yield
                stream.synchronize()
        except MemoryError as error:
            raise MemoryError(
                f'engine="cudf": the memory of the GPU is full ({error}): lower pool_rows, or have the framework '
                "leave some, by TF_FORCE_GPU_ALLOW_GROWTH=true or, for JAX, XLA_PYTHON_CLIENT_PREALLOCATE=false"
            ) from error

    def _decode(self, path: Path, row_groups: list[int], columns: list[Column]) -> dict[str, Decoded]:
        import pylibcudf as cudf

        try:
            options = cudf.io.parquet.ParquetReaderOptions.builder(cudf.io.SourceInfo([str(path)])).build()
            options.set_row_groups([row_groups])
            options.set_column_names([column.name for column in columns])
            table = cudf.io.parquet.read_parquet(options, stream=self._reading)
        except (RuntimeError, ValueError, TypeError, OverflowError, OSError) as error:  # as libcudf's are mapped
            raise OSError(f"{path}: cannot be read: {error}") from error
        found = dict(zip(table.column_names(), table.tbl.columns(), strict=True))
        return {column.name: self._decoded(column, found[column.name]) for column in columns}

    def _decoded(self, column: Column, found: pylibcudf.Column) -> Decoded:
        if not column.is_list:
            return Decoded(self._array(found, column), found.null_count())
        if found.type().id().name != "LIST":  # of nulls only, of which the file does not say that they are lists
            raise self._unread(found, column)
        parts = found.list_view()
        elements, offsets = parts.child(), self._array(parts.offsets(), column)
        return Decoded(self._array(elements, column), elements.null_count(), offsets)

    def _array(self, found: pylibcudf.Column, column: Column) -> Any:
        """A column of cuDF's as an array of CuPy's on its memory, which lives as long as either."""
        cuda, data = self.xp.cuda, found.data()
        if not found.size() or data is None:
            return self.xp.empty(0, column.dtype)
        name = found.type().id().name.lower()  # INT32, FLOAT64, ...; BOOL8
        if not name.startswith(("int", "uint", "float", "bool8")):
            raise self._unread(found, column)
        dtype = "bool" if name == "bool8" else name
        memory = cuda.UnownedMemory(data.ptr, data.size, owner=found, device_id=self._device.id)
        array = self.xp.ndarray(found.offset() + found.size(), dtype, cuda.MemoryPointer(memory, 0))
        return array[found.offset() :]

    @staticmethod
    def _unread(found: pylibcudf.Column, column: Column) -> TypeError:
        return TypeError(
            f'column {column.name!r}: engine="cudf" does not read {found.type().id().name}; use engine="arrow", '
            "or cast the column in the file"
        )


def _devices(cupy: Any) -> int:
    try:
        return cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(
            f'engine="cudf" needs an NVIDIA GPU ({error}); use engine="arrow" without one'
        ) from error
