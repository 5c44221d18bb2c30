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

BATCH = 16
LONGEST = 4096
"""Characters of a text that are looked at: more than its first 256 tokens."""

KEPT_FOR = timedelta(days=30)
"""A vector that no check has used for so long is forgotten: it tells something of a text that may be gone."""

_FRESH = timedelta(days=1)

Progress = Callable[[int, int], None]
"""Told how many of how many texts are done."""


def silent(_done: int, _total: int) -> None:
    """Tell nobody."""
    return None


class Model:
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
        """Unit vectors (texts, 384) of a batch. Of a long text the first 256 tokens count."""
        encoded = self.tokenizer.encode_batch(list(texts))
        ids = np.array([e.ids for e in encoded], dtype=np.int32)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int32)
        (made,) = self.session.run(["vectors"], {"ids": ids, "mask": mask})
        return np.asarray(made, dtype=np.float32)


class Embedder:
    """Embeds texts, asking the database first. Opens units of work of its own."""

    def __init__(self, kernel: Kernel, actor: Actor, progress: Progress = silent) -> None:
        self.kernel = kernel
        self.actor = actor
        self.progress = progress

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (texts, 384). Raises EmbeddingModelMissing."""
        texts = [text[:LONGEST] for text in texts]
        hashes = [hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest() for text in texts]
        wanted = dict(zip(hashes, texts, strict=True))
        with self.kernel.read(self.actor) as ctx:
            known = store.known_vectors(ctx.conn, minilm.MODEL_NAME, list(wanted))
        self._note_use(list(known))
        missing = sorted((h for h in wanted if h not in known), key=lambda h: (len(wanted[h]), h))
        if missing:
            known |= self._embed(missing, wanted)
        width = minilm.WIDTH
        stacked = np.frombuffer(b"".join(known[h] for h in hashes), dtype="<f2").reshape(len(texts), width)
        return stacked.astype(np.float32)

    def _embed(self, missing: Sequence[str], texts: dict[str, str]) -> dict[str, bytes]:
        """Embed texts of like length together, and keep each batch at once: a killed check loses little."""
        model = Model(self.kernel)
        made: dict[str, bytes] = {}
        for start in range(0, len(missing), BATCH * 8):
            part: dict[str, bytes] = {}
            for place in range(start, min(start + BATCH * 8, len(missing)), BATCH):
                batch = missing[place : min(place + BATCH, start + BATCH * 8)]
                # Half precision: the error of a cosine is below 0.001, and the database is half as large.
                rounded = model.vectors([texts[h] for h in batch]).astype("<f2")
                part |= {h: row.tobytes() for h, row in zip(batch, rounded, strict=True)}
            with self.kernel.write(self.actor) as ctx:
                store.keep_vectors(ctx.conn, minilm.MODEL_NAME, part, ctx.now)
            made |= part
            self.progress(len(made), len(missing))
        return made

    def _note_use(self, hashes: Sequence[str]) -> None:
        now = utc_now()
        with self.kernel.write(self.actor) as ctx:
            store.touch_vectors(ctx.conn, minilm.MODEL_NAME, hashes, now, unless_since=now - _FRESH)
            store.forget_vectors(ctx.conn, now - KEPT_FOR)
