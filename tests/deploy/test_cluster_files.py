"""`cluster.yaml` is valid by Ray's own schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def load() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return config


def validate(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))


def test_cluster_yaml_is_valid() -> None:
    validate(load())


def test_ray_refuses_an_unknown_key() -> None:
    with pytest.raises(Exception, match="maximum_workers"):
        validate({**load(), "maximum_workers": 3})


def test_the_head_runs_no_environments_and_no_learners() -> None:
    config = load()
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"]["CPU"] == 0


def test_the_image_has_the_pinned_ray() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert "==2.60.*" in pyproject
    assert load()["docker"]["image"].split(":")[1].startswith("2.60.")


def test_no_secret_in_the_file() -> None:
    assert "WANDB_API_KEY" not in (ROOT / "cluster.yaml").read_text()
