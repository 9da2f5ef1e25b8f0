"""The identity of rows: a hash of their values, whatever file they sit in."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd


def content_hash(header: str, frame: pd.DataFrame) -> str:
    """Hash a header and every value of a frame, column by column, to 64 hex digits.

    It does not depend on compression, on library versions or on how a NaN or a zero is
    encoded; it does depend on the order of rows and columns.
    """
    digest = hashlib.sha256()
    digest.update(header.encode())
    for name in frame.columns:
        values = frame[name]
        digest.update(f"\n{name}:{len(values)}\n".encode())
        if pd.api.types.is_float_dtype(values.dtype):
            numbers = values.to_numpy(dtype="<f8") + 0.0  # -0.0 becomes 0.0
            digest.update(np.where(np.isnan(numbers), np.nan, numbers).tobytes())
        elif pd.api.types.is_integer_dtype(values.dtype):
            digest.update(values.to_numpy(dtype="<i8").tobytes())
        else:
            texts = [str(value).encode() for value in values]
            digest.update(np.array([len(text) for text in texts], dtype="<i8").tobytes())
            digest.update(b"".join(texts))
    return digest.hexdigest()
