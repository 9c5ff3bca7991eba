"""Image towers that are small enough to test."""

import json

import pytest
from small import TINY


@pytest.fixture(scope="session", autouse=True)
def _tiny_towers(tmp_path_factory: pytest.TempPathFactory) -> None:
    import open_clip

    folder = tmp_path_factory.mktemp("towers")
    text = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    for name, vision in TINY.items():
        settings = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
        (folder / f"{name}.json").write_text(json.dumps(settings), encoding="utf-8")
    open_clip.add_model_config(folder)
