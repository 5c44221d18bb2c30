"""Vectors of texts, each text embedded once.

The model runs in this process by onnxruntime, in float32 (its 8-bit form keeps only three quarters of the nearest
neighbours). Vectors are kept in the database under the hash of their text, for as long as they are in use.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from tidemill.core.actors import Actor
from tidemill.core.kernel import Kernel
from tidemill.core.wire import utc_now
from tidemill.drift import minilm, store

BATCH_SIZE = 16
MAX_CHARS = 4096
"""Only so many characters of a text are embedded: more than its first 256 tokens."""

VECTOR_TTL = timedelta(days=30)
"""A vector that no check has used for so long is deleted: it reveals something of a text that may be deleted."""

_TOUCH_INTERVAL = timedelta(days=1)

Progress = Callable[[int, int], None]
"""Called with how many of how many texts are embedded."""


def ignore_progress(_done: int, _total: int) -> None:
    """Do nothing: the default progress callback."""
    return None


class EmbeddingModel:
    """The embedding model, loaded for as long as this object lives (about 150 MB)."""

    def __init__(self, kernel: Kernel) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(kernel.settings.threads, 2)
        options.log_severity_level = 3
        path = minilm.graph_file(kernel.folder("models"))
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(minilm.files()[1]))
        self.tokenizer.enable_truncation(minilm.MAX_TOKENS)
        self.tokenizer.enable_padding()

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors (texts, 384) of a batch. Only the first 256 tokens of a text count."""
        encoded = self.tokenizer.encode_batch(list(texts))
        ids = np.array([e.ids for e in encoded], dtype=np.int32)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int32)
        (batch_vectors,) = self.session.run(["vectors"], {"ids": ids, "mask": mask})
        return np.asarray(batch_vectors, dtype=np.float32)


class Embedder:
    """Embeds texts, and caches the vectors in the database. Opens its own transactions."""

    def __init__(self, kernel: Kernel, actor: Actor, progress: Progress = ignore_progress) -> None:
        self.kernel = kernel
        self.actor = actor
        self.progress = progress

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors (texts, 384). Raises EmbeddingModelMissing."""
        texts = [text[:MAX_CHARS] for text in texts]
        hashes = [hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest() for text in texts]
        text_of = dict(zip(hashes, texts, strict=True))
        with self.kernel.read(self.actor) as ctx:
            vector_of = store.load_vectors(ctx.conn, minilm.MODEL_NAME, list(text_of))
        self._touch(list(vector_of))
        missing = sorted((h for h in text_of if h not in vector_of), key=lambda h: (len(text_of[h]), h))
        if missing:
            vector_of |= self._embed(missing, text_of)
        width = minilm.WIDTH
        stacked = np.frombuffer(b"".join(vector_of[h] for h in hashes), dtype="<f2").reshape(len(texts), width)
        return stacked.astype(np.float32)

    def _embed(self, missing: Sequence[str], texts: dict[str, str]) -> dict[str, bytes]:
        """Embed texts of similar length together, and store each chunk at once: a killed check loses little."""
        model = EmbeddingModel(self.kernel)
        embedded: dict[str, bytes] = {}
        for start in range(0, len(missing), BATCH_SIZE * 8):
            chunk: dict[str, bytes] = {}
            for index in range(start, min(start + BATCH_SIZE * 8, len(missing)), BATCH_SIZE):
                batch = missing[index : min(index + BATCH_SIZE, start + BATCH_SIZE * 8)]
                # Half precision: the error of a cosine is below 0.001, and the database is half as large.
                rounded = model.vectors([texts[h] for h in batch]).astype("<f2")
                chunk |= {h: row.tobytes() for h, row in zip(batch, rounded, strict=True)}
            with self.kernel.write(self.actor) as ctx:
                store.insert_vectors(ctx.conn, minilm.MODEL_NAME, chunk, ctx.now)
            embedded |= chunk
            self.progress(len(embedded), len(missing))
        return embedded

    def _touch(self, hashes: Sequence[str]) -> None:
        now = utc_now()
        with self.kernel.write(self.actor) as ctx:
            store.touch_vectors(ctx.conn, minilm.MODEL_NAME, hashes, now, unless_since=now - _TOUCH_INTERVAL)
            store.delete_unused_vectors(ctx.conn, now - VECTOR_TTL)
