"""How long the pool of env actors takes to be whole again after the loss of one.

An actor is killed (or stopped) while both are busy; the clock runs until its successor has started and until that one
has delivered its first results. The lost time of a hanging actor is its deadline and the same again.

    python -m benchmarks.recovery
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time

import numpy as np
import numpy.typing as npt

from actors.env_actor import PlayTask, new_task_key
from actors.policy import PolicyInput, RandomPolicy
from actors.pool import ActorPool
from actors.sources import SourceSpec
from benchmarks.common import bare_ray, report
from envs.registry import make_spec

ENV = "grid/default"
BAR_S = 10.0
DEADLINE_S = 5.0


class Slow(RandomPolicy):
    """Random play that takes a while, so that there is something to interrupt."""

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Uniform, a little later."""
        time.sleep(0.005)
        return super().act(inputs)


def recover(number: int) -> dict[str, float]:
    """Seconds from the signal to the successor's start and to its first results."""
    task = PlayTask(
        key=new_task_key(),
        source=SourceSpec(env=ENV, name="random"),
        seed=0,
        num_envs=4,
        policy=Slow(make_spec(ENV)),
    )
    struck_s, started_s = 0.0, 0.0
    with ActorPool(2, deadline_s=DEADLINE_S) as pool:
        infos = pool.wait_until_started()
        for count, _ in enumerate(pool.play_results(task, [(level, 0) for level in range(2_000)])):
            place = pool._places[0]
            if count == 10:
                os.kill(infos[0].pid, number)
                struck_s = time.perf_counter()
            if struck_s and place.incarnation == 2 and place.info is not None:
                started_s = started_s or time.perf_counter()
                if place.chunk is not None and place.chunk.failures == 0:  # it was set back by a reply
                    return {"started_s": started_s - struck_s, "delivered_s": time.perf_counter() - struck_s}
    raise AssertionError("the work ended before the successor delivered; give it more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    found = {}
    with bare_ray(num_cpus=2):
        for name, number in (("killed", signal.SIGKILL), ("hanging", signal.SIGSTOP)):
            turns = [recover(number) for _ in range(args.turns)]
            medians = {key: round(statistics.median(turn[key] for turn in turns), 2) for key in turns[0]}
            found[name] = {**medians, "deadline_s": DEADLINE_S if name == "hanging" else 0.0}
    value = found["killed"]["delivered_s"]
    report("recovery", value, "s until a killed actor's successor delivers", BAR_S, value <= BAR_S, faults=found)


if __name__ == "__main__":
    main()
