"""Decoding and gathering on an NVIDIA GPU: pylibcudf, cuDF's lean part, decodes row groups, CuPy does the rest.

There are two streams, one for reading pools and one for gathering batches, each synchronized before its result is
handed over, so that an array can be used in any stream. Frameworks free an array when Python no longer refers to
it, even if their kernels still have to read it: `keep_while_used` keeps each batch until they are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasrec.data.decode.device import Decoded, DeviceFrames
from kerasrec.data.decode.layout import Batch, Frame, Layout, Rows
from kerasrec.data.files.row_groups import RowGroup
from kerasrec.parallel import comm
from kerasrec.schema import Column

if TYPE_CHECKING:
    import pylibcudf


class CudfFrames(DeviceFrames):
    """The engine `"cudf"` of a loader, on CUDA's current device.

    RMM's current memory resource is replaced by an asynchronous one if it is still the plain default, which
    would synchronize the device at each allocation.

    Args:
        wide: as for `DeviceFrames`.

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
                f'engine="cudf": rank {comm.rank()} sees {devices} GPUs, but must see its own only; '
                "set CUDA_VISIBLE_DEVICES to HOROVOD_LOCAL_RANK before TensorFlow and kerasrec are imported"
            )
        super().__init__(cupy, self._decode, wide)
        self._device = cupy.cuda.Device()
        with self._device:
            if isinstance(rmm.mr.get_current_device_resource(), rmm.mr.CudaMemoryResource):
                rmm.mr.set_current_device_resource(rmm.mr.CudaAsyncMemoryResource())
            self._reading = cupy.cuda.Stream(non_blocking=True)
            self._gathering = cupy.cuda.Stream(non_blocking=True)

    def read(self, row_groups: Sequence[RowGroup], layout: Layout, permute: bool) -> Frame:
        with self._done_on(self._reading):
            return super().read(row_groups, layout, permute)

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
                "leave some free, by TF_FORCE_GPU_ALLOW_GROWTH=true "
                "or, for JAX, XLA_PYTHON_CLIENT_PREALLOCATE=false"
            ) from error

    def _decode(self, path: Path, row_groups: list[int], columns: list[Column]) -> dict[str, Decoded]:
        import pylibcudf as cudf

        try:
            options = cudf.io.parquet.ParquetReaderOptions.builder(cudf.io.SourceInfo([str(path)])).build()
            options.set_row_groups([row_groups])
            options.set_column_names([column.name for column in columns])
            table = cudf.io.parquet.read_parquet(options, stream=self._reading)
        except (RuntimeError, ValueError, TypeError, OverflowError, OSError) as error:  # what libcudf's become
            raise OSError(f"{path}: cannot be read: {error}") from error
        decoded = dict(zip(table.column_names(), table.tbl.columns(), strict=True))
        return {column.name: self._decoded(column, decoded[column.name]) for column in columns}

    def _decoded(self, column: Column, decoded: pylibcudf.Column) -> Decoded:
        if not column.is_list:
            return Decoded(self._array(decoded, column), decoded.null_count())
        if decoded.type().id().name != "LIST":  # nulls only, which the file does not declare to be lists
            raise self._unread(decoded, column)
        parts = decoded.list_view()
        elements, offsets = parts.child(), self._array(parts.offsets(), column)
        return Decoded(self._array(elements, column), elements.null_count(), offsets)

    def _array(self, decoded: pylibcudf.Column, column: Column) -> Any:
        """Return a CuPy array on the memory of a cuDF column, which lives as long as either."""
        cuda, data = self.xp.cuda, decoded.data()
        if not decoded.size() or data is None:
            return self.xp.empty(0, column.dtype)
        name = decoded.type().id().name.lower()  # INT32, FLOAT64, ...; BOOL8
        if not name.startswith(("int", "uint", "float", "bool8")):
            raise self._unread(decoded, column)
        dtype = "bool" if name == "bool8" else name
        memory = cuda.UnownedMemory(data.ptr, data.size, owner=decoded, device_id=self._device.id)
        array = self.xp.ndarray(decoded.offset() + decoded.size(), dtype, cuda.MemoryPointer(memory, 0))
        return array[decoded.offset() :]

    @staticmethod
    def _unread(decoded: pylibcudf.Column, column: Column) -> TypeError:
        return TypeError(
            f'column {column.name!r}: engine="cudf" does not read {decoded.type().id().name}; use engine="arrow", '
            "or cast the column in the file"
        )


def _devices(cupy: Any) -> int:
    try:
        return cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(
            f'engine="cudf" needs an NVIDIA GPU ({error}); use engine="arrow" without one'
        ) from error
