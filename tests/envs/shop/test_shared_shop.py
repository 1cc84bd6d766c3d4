"""Everything of a shop that is large is one copy per machine: processes map it and add little of their own."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.registry import make_vec
from envs.shop.files import ShopFiles, open_shop
from envs.shop.rules import COMPAT
from tests.envs.shop.recordings import FILES, GOLDEN
from tests.envs.shop.shop_files import record

WORLD = "shop/10k"


def private_bytes() -> int:
    """Anonymous memory of this process: what no other process shares."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def mapped_files() -> set[str]:
    return {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/shop/" in line}


class Player:
    """Opens the shop and plays a little."""

    def play(self) -> dict[str, Any]:
        make_vec("shop/tiny", 2)  # imports and their tables are there before anything is measured
        before = private_bytes()
        env = make_vec(WORLD, 4)
        opened = private_bytes() - before
        observations, _ = env.reset(options={"levels": np.arange(4)})
        pages = [bytes(page).decode() for page in observations["page"]]
        for action in (0, 3, 2):
            env.step(np.full(4, action, dtype=np.int32))
        shop = env.shop
        arrays = [*shop.products.catalogue.arrays.values(), *shop.search.arrays().values()]
        return {
            "process": os.getpid(),
            "opened": opened,
            "played": private_bytes() - before,
            "shared": sum(array.nbytes for array in arrays),
            "writable": [array.flags.writeable for array in arrays if array.nbytes],
            "files": sorted(mapped_files()),
            "pages": pages,
        }


@pytest.mark.ray
@pytest.mark.slow
def test_two_ray_processes_map_the_same_catalogue_and_index(ray_cluster: Any) -> None:
    make_vec(WORLD, 1)  # made once, before anybody else asks for it
    actors = [ray_cluster.remote(num_cpus=1)(Player).remote() for _ in range(2)]
    seen = ray_cluster.get([actor.play.remote() for actor in actors])
    assert len({found["process"] for found in seen} - {os.getpid()}) == 2
    assert seen[0]["files"] == seen[1]["files"]
    kinds = {Path(file).parent.name.split("-v")[0] for file in seen[0]["files"]}
    assert kinds >= {"catalogue", "bm25"}
    assert seen[0]["pages"] == seen[1]["pages"]
    for found in seen:
        assert found["shared"] > 20_000_000
        assert not any(found["writable"])
        assert found["opened"] < 0.15 * found["shared"], "the arrays were copied"
        assert found["played"] < 0.25 * found["shared"]


def test_a_shop_of_files_maps_its_catalogue_and_index(tmp_path: Path) -> None:
    with (tmp_path / "products.json").open("w") as file:
        for number in range(1500):
            text = f"{number} " + " ".join(f"word{number * 7 % 400 + step}" for step in range(300))
            file.write(("," if number else "[") + json.dumps(record(number, full_description=text)))
        file.write("]")
    files = ShopFiles(products=str(tmp_path / "products.json"), goals=str(GOLDEN / "goals.json"))
    open_shop(files, COMPAT).hits(("word3",))
    before = private_bytes()
    shop = open_shop(files, COMPAT)
    assert len(shop.hits(("word3", "word90")) or ()) == 50
    grown = private_bytes() - before
    arrays = shop.products.catalogue.arrays  # type: ignore[attr-defined]
    size = sum(array.nbytes for array in arrays.values())
    assert size > 3_000_000
    assert all(isinstance(array.base, np.memmap) for array in arrays.values() if array.nbytes)
    assert grown < 0.7 * size, "598 goals and what 50 hits need"


def test_prices_of_files_take_eight_bytes_a_product() -> None:
    prices = open_shop(FILES, COMPAT, with_goals=False).prices
    values = prices._values  # type: ignore[attr-defined]
    assert values.nbytes == 8 * len(prices)
