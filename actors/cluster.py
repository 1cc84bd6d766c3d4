"""Start a local Ray or join a running one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from actors.placement import read_cluster
from envs.console import say
from envs.errors import RunError, UsageError
from envs.plugins import runtime_env

QUIET = {
    # The defaults print each worker line twice and poll a training run only every two seconds.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune's own handler marks running trials as ended and returns as if all were well; a resumed study would skip them.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A trial that diverges before its first evaluation has nothing to report.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
STARTS = 3
TOO_SLOW = ("timed out during startup", "dashboard.log")
"""One of them is in what Ray says when a node, or its dashboard, took longer than Ray waits."""
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@contextlib.contextmanager
def ray_session(address: str | None = None, num_cpus: int | None = None) -> Iterator[Any]:
    """Ray, initialized; a cluster started here is shut down at the end, a joined one is left running.

    A local one listens on the loopback interface alone, and its ports ask for Ray's token, unless RAY_AUTH_MODE says
    otherwise.

    Args:
        address: Address of a running cluster; None joins the one that RAY_ADDRESS names, as in a submitted job, and
            starts a local one where there is no such name.
        num_cpus: Logical CPUs of a local cluster; None takes the machine's.

    Raises:
        RunError: If the cluster at `address` cannot be reached, or a local one does not start.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    with _loopback() if address is None else contextlib.nullcontext():
        _begin(ray, address, num_cpus)
        say(f"Ray: {read_cluster(ray).describe()}")
        try:
            yield ray
        finally:
            ray.shutdown()


def _begin(ray: Any, address: str | None, num_cpus: int | None) -> None:
    try:
        with _own_sigterm():
            _start_patiently(ray, address, num_cpus)
    except ConnectionError as error:
        raise RunError(f"No Ray cluster answers at {address!r} ({error}). Start one with `ray start --head`.") from None
    except (RunError, UsageError):
        raise
    except Exception as error:  # Ray raises bare exceptions when its processes do not come up in time
        ray.shutdown()
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RunError(f"Ray could not be started ({reason}). Is the machine overloaded? Try again later.") from error


def _start_patiently(ray: Any, address: str | None, num_cpus: int | None) -> None:
    """Start, and again where Ray was only too slow: it gives a node 30 s, which a busy machine may not keep."""
    for left in reversed(range(STARTS)):
        try:
            _start(ray, address, num_cpus)
            return
        except Exception as error:  # Ray's own is a bare one
            if address is not None or not left or not any(words in str(error) for words in TOO_SLOW):
                raise
        ray.shutdown()
        say("Ray did not start in the time that it gives itself on this busy machine; trying again")


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Ray's switch for machines that must not open ports; otherwise a local cluster listens on every interface."""
    from ray._private import ray_constants

    usual = ray_constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(LOOPBACK)
    os.environ[LOOPBACK] = "0"  # for the processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = usual
        os.environ.pop(LOOPBACK)
        if before is not None:
            os.environ[LOOPBACK] = before


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray's handler of SIGTERM would end the process with another exit code and without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(ray: Any, address: str | None, num_cpus: int | None) -> None:
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "runtime_env": runtime_env() or None,
        "namespace": "gengap",
    }
    if address is not None:
        ray.init(address=address, **common)
        return
    # Without the dashboard's State API the placement group of a stopped trial is never released.
    ray.init(num_cpus=num_cpus, include_dashboard=True, **common)
