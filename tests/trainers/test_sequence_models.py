"""BCT and DT: windows, return conditioning, and the memory that they act with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.policy import PolicyInput
from actors.rollout import RecordOptions, play
from data.dataset import Dataset
from envs.errors import RunError, UsageError
from envs.registry import make_vec
from tests.trainers.algorithms_helpers import GRID, SMALL, algorithm_config, batch_for
from tests.trainers.helpers import grid_experiment
from trainers.algorithms import build_algorithm
from trainers.algorithms.bct import BCT
from trainers.algorithms.dt import DT
from trainers.batches import TensorBatch
from trainers.distributed import WorkerContext
from trainers.feed import Feed
from trainers.learner import Learner
from trainers.networks import SequenceModel
from trainers.sequence_policy import SequencePolicy
from trainers.training_data import open_training_data

CONTEXT = 4


def make(name: str, **options: Any) -> BCT:
    algorithm = build_algorithm(GRID, algorithm_config(name, **options), SMALL, seed=0)
    assert isinstance(algorithm, BCT)
    with torch.no_grad():  # far from the near-uniform start, so that differences show
        for parameter in algorithm.parameters():
            parameter.mul_(3)
    return algorithm.eval()


def logits(algorithm: BCT, batch: TensorBatch) -> torch.Tensor:
    """[items, K, A]."""
    columns = (batch.actions, batch.returns_to_go, batch.timesteps)
    actions, returns, ages = (column.unflatten(0, (-1, batch.window)) for column in columns)
    states = algorithm.model.embed(batch.observations).unflatten(0, (-1, batch.window))
    return algorithm.model(states, actions, returns, ages[:, 0])


@pytest.mark.parametrize("name", ["bct", "dt"])
def test_the_loss_is_the_mean_of_the_windows_means_over_steps_that_exist(name: str) -> None:
    algorithm = make(name)
    batch = batch_for(algorithm, GRID, 6)
    assert not batch.valid.all()
    log_probs = torch.log_softmax(logits(algorithm, batch), dim=2).detach().double()
    windows = []
    for b in range(6):
        steps = [k for k in range(CONTEXT) if batch.valid[b * CONTEXT + k]]
        windows.append(-np.mean([log_probs[b, k, batch.actions[b * CONTEXT + k]].item() for k in steps]))
    assert algorithm(batch)["total"].item() == pytest.approx(np.mean(windows), rel=1e-5)


@pytest.mark.parametrize("name", ["bct", "dt"])
def test_no_step_sees_what_comes_later(name: str) -> None:
    algorithm = make(name)
    batch = batch_for(algorithm, GRID, 3)
    before = logits(algorithm, batch)
    for step in range(CONTEXT):
        rows = torch.arange(3) * CONTEXT + step
        image = batch.observations["image"].clone()
        image[rows] = 255 - image[rows]
        actions = batch.actions.clone()
        actions[rows] = (actions[rows] + 1) % GRID.num_actions
        seen = (logits(algorithm, dataclasses.replace(batch, observations={"image": image})) - before).abs() > 1e-6
        assert not seen[:, :step].any()
        assert seen[:, step:].any(dim=2).all(), "the observation matters from its own step on"
        done = (logits(algorithm, dataclasses.replace(batch, actions=actions)) - before).abs() > 1e-6
        assert not done[:, : step + 1].any(), "the action of a step is what it predicts"
        assert done[:, step + 1 :].any(dim=2).all()


def test_the_decision_transformer_is_conditioned_on_the_return_to_go() -> None:
    """Perturb the return, and the actions change; the cloning transformer does not read it."""
    for name, reads in (("dt", True), ("bct", False)):
        algorithm = make(name)
        batch = batch_for(algorithm, GRID, 16)
        other = dataclasses.replace(batch, returns_to_go=batch.returns_to_go - 2)
        changed = logits(algorithm, batch) - logits(algorithm, other)
        assert (changed.abs() > 1e-4).any() == reads
        rows = torch.arange(16) * CONTEXT + CONTEXT - 1
        last = batch.returns_to_go.clone()
        last[rows] += 1
        late = (logits(algorithm, dataclasses.replace(batch, returns_to_go=last)) - logits(algorithm, batch)).abs()
        assert not (late[:, :-1] > 1e-6).any()
        assert (late[:, -1] > 1e-4).any() == reads


def test_the_decision_transformer_learns_to_do_what_the_return_asks_for() -> None:
    """Where good and bad episodes differ only in their return, the return alone decides the action."""
    torch.manual_seed(0)
    algorithm = build_algorithm(GRID, algorithm_config("dt"), SMALL, seed=0)
    learner = Learner(algorithm, grid_experiment(Path("unused"), learning_rate=3e-3).train, WorkerContext())
    batch = batch_for(algorithm, GRID, 32)
    good = (torch.arange(32) % 2 == 0).repeat_interleave(CONTEXT)
    image = torch.zeros_like(batch.observations["image"])
    batch = dataclasses.replace(
        batch, observations={"image": image}, returns_to_go=good.float(), actions=torch.where(good, 1, 3)
    )
    for _ in range(60):
        learner.step(batch)
    algorithm.eval()
    for wanted, action in ((1.0, 1), (0.0, 3)):
        asked = dataclasses.replace(batch, returns_to_go=torch.full_like(batch.returns_to_go, wanted))
        assert (logits(algorithm, asked)[:, 0].argmax(1) == action).all()


def test_acting_asks_for_a_multiple_of_the_best_return_and_counts_down(grid_data: Path) -> None:
    algorithm = make("dt", target_multiple=5.0)
    assert isinstance(algorithm, DT)
    view = Dataset.open(grid_data)
    algorithm.read_data(view)
    assert algorithm.model.target_return.item() == pytest.approx(5 * view.episodes["return"].max())
    assert algorithm.model.return_scale.item() == pytest.approx(view.episodes["return"].max())
    policy = SequencePolicy(algorithm.model, GRID, "", precision="float32")
    frames = batch_for(algorithm, GRID, 1).observations["image"].numpy()
    for step, reward in enumerate([0.0, 0.25, 0.0, 0.5]):
        policy.act(shown(frames[step % len(frames)][None], step, reward=reward))
    np.testing.assert_allclose(policy._memory.returns[0].numpy(), 5 - np.cumsum([0.0, 0.25, 0.0, 0.5]), atol=1e-5)
    assert make("dt", scaled_returns=False).model.return_scale.item() == 1


def shown(frames: np.ndarray, step: int, action: int = 2, reward: float = 0.0) -> PolicyInput:
    starting = np.full(len(frames), step == 0)
    actions = np.full(len(frames), -1 if step == 0 else action, dtype=np.int32)
    return PolicyInput({"image": frames}, starting, actions, np.full(len(frames), reward, dtype=np.float32))


@pytest.mark.parametrize("name", ["bct", "dt"])
@pytest.mark.parametrize("timesteps", [False, True])
def test_acting_is_the_model_on_the_last_steps(name: str, timesteps: bool) -> None:
    """Against windows that are cut anew out of the whole episode at every step."""
    algorithm, rng = make(name, timesteps=timesteps), np.random.default_rng(0)
    policy = SequencePolicy(algorithm.model, GRID, "", precision="float32")
    frames = rng.integers(0, 256, (9, *GRID.observation_columns["image"].shape)).astype(np.uint8)
    actions, rewards = rng.integers(0, 5, 9), rng.random(9).astype(np.float32)
    for step in range(9):
        before = max(0, step - 1)
        inputs = shown(frames[step][None], step, int(actions[before]), float(rewards[before]) if step else 0.0)
        found = policy.act(inputs)
        first = max(0, step - CONTEXT + 1)
        to_go = 1.0 - np.concatenate([[0], np.cumsum(rewards)])[first : step + 1]
        window = torch.from_numpy(frames[first : step + 1])
        with torch.no_grad():
            expected = algorithm.model(
                algorithm.model.embed({"image": window})[None],
                torch.from_numpy(np.append(actions[first:step], 0))[None],
                torch.from_numpy(to_go)[None],
                torch.tensor([first]),
            )
        np.testing.assert_allclose(found, torch.log_softmax(expected[:, -1], 1).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["bct", "dt"])
def test_an_episode_does_not_depend_on_its_neighbors(name: str) -> None:
    model = make(name).model
    alone = played(model, [(3, 0)])
    assert played(model, [(5, 0), (3, 0), (7, 1)])[1] == alone[0]
    many = [(level, 0) for level in range(12)]
    assert played(model, many) == played(model, many[::-1])[::-1], "slots are used one after the other"


def played(model: SequenceModel, jobs: list[tuple[int, int]]) -> list[tuple[list[int], list[float]]]:
    """Actions and the log-probabilities that they had, of each job."""
    env, record = make_vec("grid/default", 4), RecordOptions(source="model")
    results = {
        (episode.level, episode.episode): (episode.actions.tolist(), episode.behavior_logp.tolist())
        for episode in play(env, SequencePolicy(model, GRID, "", precision="float32"), jobs, seed=0, record=record)
    }
    env.close()
    return [results[job] for job in jobs]


def test_an_episode_whose_start_was_not_seen_is_refused() -> None:
    algorithm = make("bct")
    policy = SequencePolicy(algorithm.model, GRID, "p")
    frames = batch_for(algorithm, GRID, 1).observations["image"].numpy()
    with pytest.raises(RunError, match="not seen from the start"):
        policy.act(shown(frames, 1))
    policy.act(shown(frames, 0))
    with pytest.raises(RunError, match="not seen from the start"):
        policy.act(shown(frames[:2], 1))


@pytest.mark.parametrize("clamped", [False, True])
def test_the_feed_cuts_windows_out_of_episodes(grid_data: Path, clamped: bool) -> None:
    config = grid_experiment(grid_data, batch_size=8)
    algorithm = make("dt", clamped=clamped)
    data = open_training_data(config)
    batch = Feed(data, algorithm, config, WorkerContext()).batch(3)
    halves = [Feed(data, algorithm, config, WorkerContext(rank=r, world_size=2)).batch(3) for r in (0, 1)]
    assert torch.equal(torch.cat([half.actions for half in halves]), batch.actions)
    assert (len(batch), batch.window) == (8 * CONTEXT, CONTEXT)
    episodes = [data.view.episode(position) for position in range(data.view.num_episodes)]
    for item in range(8):
        rows = slice(item * CONTEXT, (item + 1) * CONTEXT)
        valid, first = batch.valid[rows], int(batch.timesteps[rows][0])
        count = int(valid.sum())
        assert valid[:count].all()
        matching = [
            episode
            for episode in episodes
            if episode.level == batch.levels[rows][0]
            and np.array_equal(episode.actions[first : first + count], batch.actions[rows][:count])
            and len(episode) >= first + count
            and np.allclose(episode.rewards[first:].sum(), batch.returns_to_go[rows][0])
        ]
        assert matching
        assert np.array_equal(
            matching[0].observations["image"][first : first + count], batch.observations["image"][rows][:count]
        )
        if clamped:
            assert count == min(CONTEXT, len(matching[0]))


def test_dropout_is_drawn_from_step_and_rank_alone() -> None:
    def trained(rank: int) -> list[float]:
        algorithm = build_algorithm(GRID, algorithm_config("bct", dropout=0.3), SMALL, seed=0)
        context = WorkerContext(rank=rank)
        learner = Learner(algorithm, grid_experiment(Path("unused")).train, context)
        return [float(learner.step(batch_for(algorithm, GRID, 4))["total"]) for _ in range(3)]

    state = torch.random.get_rng_state()
    first = trained(0)
    assert torch.equal(state, torch.random.get_rng_state())
    assert trained(0) == first
    assert trained(1) != first


def test_relabeled_data_is_refused(grid_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = Dataset.open(grid_data)
    monkeypatch.setattr(Dataset, "sources", ("maze-search-e0.3-relabeled",))
    for name in ("bct", "dt", "cql", "bcq", "iql"):
        with pytest.raises(UsageError, match="do not belong to them"):
            build_algorithm(GRID, algorithm_config(name), SMALL, seed=0).read_data(view)
    build_algorithm(GRID, algorithm_config("bc"), SMALL, seed=0).read_data(view)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"context": 1}, "2 or more"), ({"heads": 3}, "multiple of heads"), ({"dropout": 1.0}, "1")],
)
def test_bad_shapes_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make("dt", **options)
