"""The demo world: a small CLIP that was really pretrained, and datasets that are generated. Nothing is downloaded."""

from pathlib import Path

from harness.suite import BackboneFiles

_HERE = Path(__file__).parent

BACKBONE = BackboneFiles(name="demo-clip", config=_HERE / "demo-clip.json", weights=_HERE / "demo-clip.safetensors")
"""ViT-B/16's structure (12 + 12 blocks, class token, end-of-text pooling) at width 128 on 48-pixel images."""
