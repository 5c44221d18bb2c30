"""From an F16 GGUF file to a smaller one.

Q8_0, Q4_0 and Q4_1 give the bytes that llama.cpp's own tool gives. Q4_K_M follows its mixture: attention values
and half of the down projections in Q6_K, the rest in Q4_K; a row that is no multiple of 256 falls back to Q8_0
and Q5_0. The arithmetic is ggml's own, called in the engine's library.
"""

import ctypes
from pathlib import Path
from typing import Any, get_args

import numpy as np
from gguf import GGML_QUANT_SIZES, GGUFReader, LlamaFileType  # noqa: TID253 - this module loads on first use
from gguf import GGMLQuantizationType as Kind  # noqa: TID253 - this module loads on first use
from numpy.typing import NDArray

from tidemill.tuning.compress.convert import copy_fields, start_tensors, writing
from tidemill.tuning.types import Quantisation, UnknownQuantisation, UnsupportedModel

_FILE_TYPES = {
    "q8_0": (LlamaFileType.MOSTLY_Q8_0, Kind.Q8_0),
    "q4_0": (LlamaFileType.MOSTLY_Q4_0, Kind.Q4_0),
    "q4_1": (LlamaFileType.MOSTLY_Q4_1, Kind.Q4_1),
    "q4_k_m": (LlamaFileType.MOSTLY_Q4_K_M, Kind.Q4_K),
}
_FALLBACK = {Kind.Q4_K: Kind.Q5_0, Kind.Q6_K: Kind.Q8_0}


def quantise(source: Path, target: Path, to: Quantisation) -> None:
    """Write the F16 (or F32) GGUF file `source` at `target` in the form `to`. Vectors stay as they are."""
    if to not in _FILE_TYPES:
        raise UnknownQuantisation(
            f"There is no form called {to!r}.", hint=f"Known: {', '.join(get_args(Quantisation))}.", param="to"
        )
    file_type, main = _FILE_TYPES[to]
    reader = GGUFReader(source)
    layers = int(reader.fields["llama.block_count"].contents())
    tied = all(t.name != "output.weight" for t in reader.tensors)
    with writing(target) as writer:
        copy_fields(reader, writer, {"general.file_type": int(file_type)})
        plan = []
        for tensor in reader.tensors:
            shape = tuple(int(n) for n in reversed(tensor.shape))
            kind = form_of(tensor.name, shape, main, layers, tied=tied) if len(shape) > 1 else tensor.tensor_type
            block, size = GGML_QUANT_SIZES[kind]
            count = int(np.prod(shape)) // block * size
            dtype = np.dtype(np.float32 if kind == Kind.F32 else np.float16)
            writer.add_tensor_info(tensor.name, shape, dtype, count, kind)
            plan.append((tensor, kind))
        start_tensors(writer)
        for tensor, kind in plan:
            writer.write_tensor_data(_encoded(tensor, kind))


def form_of(name: str, shape: tuple[int, ...], main: Kind, layers: int, *, tied: bool) -> Kind:
    """Return the form of one matrix in a file whose main form is `main`."""
    kind = _mixed(name, layers, tied=tied) if main == Kind.Q4_K else _plain(name, main, tied=tied)
    if shape[-1] % GGML_QUANT_SIZES[kind][0] == 0:
        return kind
    fallback = _FALLBACK.get(kind, Kind.F16)
    return fallback if shape[-1] % GGML_QUANT_SIZES[fallback][0] == 0 else Kind.F16


def _plain(name: str, main: Kind, *, tied: bool) -> Kind:
    """llama.cpp keeps the tensor that makes the logits finer: Q6_K, which for narrow rows means Q8_0."""
    return Kind.Q6_K if _makes_logits(name, tied=tied) and main != Kind.Q8_0 else main


def _mixed(name: str, layers: int, *, tied: bool) -> Kind:
    if _makes_logits(name, tied=tied):
        return Kind.Q6_K
    if name.endswith(("attn_v.weight", "ffn_down.weight")):
        layer = int(name.split(".")[1])
        more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
        return Kind.Q6_K if more else Kind.Q4_K
    return Kind.Q4_K


def _makes_logits(name: str, *, tied: bool) -> bool:
    return name == ("token_embd.weight" if tied else "output.weight")


def _encoded(tensor: Any, kind: Kind) -> NDArray[Any]:
    if kind == tensor.tensor_type:
        return np.ascontiguousarray(tensor.data)
    if tensor.tensor_type not in (Kind.F16, Kind.F32):
        raise UnsupportedModel(
            f"{tensor.name} is {tensor.tensor_type.name} already.",
            hint="Quantise from the F16 file: a second rounding costs quality that nobody sees.",
        )
    values = np.ascontiguousarray(tensor.data, dtype=np.float32)
    return ggml_encode(values, kind)


def ggml_encode(values: NDArray[np.float32], kind: Kind) -> NDArray[np.uint8]:
    """Return `values` (rows, columns) in ggml's block form `kind`: uint8, (rows, bytes a row)."""
    rows, columns = values.shape
    block, size = GGML_QUANT_SIZES[kind]
    out = np.empty((rows, columns // block * size), dtype=np.uint8)
    library = _ggml()
    written = library.ggml_quantize_chunk(int(kind), values.ctypes.data, out.ctypes.data, 0, rows, columns, None)
    if written != out.nbytes:
        raise RuntimeError(f"ggml wrote {written} bytes of {kind.name} where {out.nbytes} were due")
    return out


def _ggml() -> ctypes.CDLL:
    import xllamacpp

    library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return library
