"""Keeps the keys of a cloud out of Ray's logs."""

from __future__ import annotations

from ray.tune.execution import class_cache

CLOUD_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")


def withhold_keys() -> None:
    """Call it before Tune starts a trial.

    Tune hands these variables on to every trial as a setting of its process, and Ray writes such settings into
    ``runtime_env_agent.log``. Trials have the keys without that, where there are any: from the job's own variables,
    from the role of their machine, or from the environment that a local Ray inherits.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(CLOUD_KEYS)
