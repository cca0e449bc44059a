"""What a page holds in little room, for its script to unpack where a reader opens it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence

AT_ONCE = 50
"""So many texts are unpacked together: more pack better, fewer are there sooner."""


def packed(texts: Sequence[str]) -> list[str]:
    """Texts in groups of `AT_ONCE`, the last one with what is left: each a JSON array, deflated (RFC 1951), in base64."""
    groups = (texts[at : at + AT_ONCE] for at in range(0, len(texts), AT_ONCE))
    return [base64.b64encode(_deflated(json.dumps(group, ensure_ascii=False).encode())).decode() for group in groups]


def _deflated(data: bytes) -> bytes:
    deflating = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflating.compress(data) + deflating.flush()
