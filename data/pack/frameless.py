"""Episodes that lose their frames where they are played, so that only what renders them again travels."""

from __future__ import annotations

from dataclasses import fields, replace

from data.episode import Episode, FramelessEpisode
from data.pack.blocks import narrowest
from data.schema import episode_checksum
from data.validation import canonical_episode
from envs.spec import EnvSpec


def without_frames(env: EnvSpec, episode: Episode) -> FramelessEpisode:
    """What is left of an episode without its observations: some bytes a step, and the checksum of the whole.

    Raises:
        UsageError: If it is no episode that a dataset of this environment may hold.
    """
    whole = canonical_episode(env, episode)
    kept = {field.name: getattr(whole, field.name) for field in fields(Episode)}
    for name in ("actions", "rewards", "behavior_logp"):
        kept[name] = narrowest(kept[name])
    return FramelessEpisode(**{**kept, "observations": {}}, checksum=episode_checksum(whole))


def without_columns(env: EnvSpec) -> EnvSpec:
    """The environment as a dataset of frameless episodes holds it."""
    return replace(env, observation_columns={})
