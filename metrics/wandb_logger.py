"""Metrics to Weights & Biases, from a thread of its own: training never waits for it, fails with it or loses by it."""

from __future__ import annotations

import hashlib
import importlib
import logging
import netrc
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal
from urllib.parse import urlsplit

from envs.errors import unknown_name
from metrics.loggers import STEP, Values, plain
from metrics.wandb_media import to_wandb

Mode = Literal["auto", "online", "offline", "disabled"]
Row = dict[str, Any]
REMOVED = "[removed]"
OFFLINE_SUFFIX = "-offline"
_MODES = ("auto", "online", "offline", "disabled")
_CLOUD_HOST = "api.wandb.ai"
_MAX_ID_LENGTH = 56  # W&B allows 64
_SECRET_WORDS = frozenset({"secret", "password", "passwd", "token", "credential", "credentials", "apikey"})
_SECRET_PAIRS = re.compile(r"(api|access|private|secret)_?key", re.IGNORECASE)
_log = logging.getLogger(__name__)


class WandbLogger:
    """One W&B run under an explicit id, so a resumed process continues it.

    The x-axis is our own count, ``learner_step`` or `step_name`; W&B's ``step=`` is never passed, because it silently
    drops rows whose step goes backwards. What cannot be sent stays in W&B's local log for ``wandb sync``; the JSON
    lines have it anyway.
    A run that cannot be opened online is written offline under the id ``<run_id>-offline`` (to send it later:
    ``wandb sync --id <run_id> <folder>``).

    Args:
        project: W&B project.
        run_id: Stable over resumes; characters that W&B refuses are replaced.
        group: Study, or configuration over seeds.
        name: Shown name.
        config: The complete experiment; secrets are removed.
        directory: Run files go to its subfolder ``wandb``.
        mode: "auto" is online with an API key (and follows the variable WANDB_MODE), offline without; "online"
            without a key is offline too, with a warning.
        finish_timeout_s: `close` takes at most this long.
        init_timeout_s: After this long without an answer (at most 0.6 `finish_timeout_s`) the run goes offline.
        tags: Shown tags.
        step_name: What the x-axis counts.
        notes: Shown above the run.

    Raises:
        UsageError: For an unknown mode.
    """

    def __init__(
        self,
        project: str,
        run_id: str,
        group: str,
        name: str,
        config: Mapping[str, Any],
        directory: Path,
        mode: Mode = "auto",
        finish_timeout_s: float = 15.0,
        init_timeout_s: float = 20.0,
        tags: tuple[str, ...] = (),
        step_name: str = STEP,
        notes: str = "",
    ) -> None:
        if mode not in _MODES:
            raise unknown_name("W&B mode", mode, _MODES)
        self.run_id = safe_run_id(run_id)
        self.url: str | None = None
        """Address of the run page, once it is open online."""
        self._directory = directory
        self._finish_timeout_s = finish_timeout_s
        self._init_timeout_s = init_timeout_s
        self._step_name = step_name
        self._names: dict[str, Any] = {"project": project, "run_group": group, "run_name": name, "run_tags": tags}
        if notes:
            self._names["run_notes"] = notes
        self._config = without_secrets(config)
        self._queue: SimpleQueue[Row | None] = SimpleQueue()
        self._failed = threading.Event()
        self._thread: threading.Thread | None = None
        if mode != "disabled":
            self._thread = threading.Thread(target=self._work, args=(mode,), name=f"wandb-{self.run_id}", daemon=True)
            self._thread.start()

    def write(self, step: int, values: Values) -> None:
        """Queue one row of numbers, texts and `metrics.wandb_media`; returns at once."""
        if self._thread is not None and not self._failed.is_set():
            self._queue.put({self._step_name: int(step), **plain(values)})

    def close(self) -> None:
        """Send what is queued and finish the run, within `finish_timeout_s`."""
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(self._finish_timeout_s)
        if self._thread.is_alive():
            _log.warning(
                "W&B did not finish run %s within %g s; its local log is under %s (send it with `wandb sync`).",
                self.run_id,
                self._finish_timeout_s,
                self._directory / "wandb",
            )
        self._thread = None

    def _work(self, mode: Mode) -> None:
        try:
            run = self._open(mode)
            if run is None:
                self._failed.set()
                return
            try:
                self._pump(run)
            finally:
                run.finish()
        except Exception as error:
            self._failed.set()
            if self._thread is not None:  # else `close` has given up and said so
                _log.warning("W&B is dropped for run %s, the JSON lines go on: %r", self.run_id, error)

    def _pump(self, run: Any) -> None:
        wandb = importlib.import_module("wandb")
        while (row := self._queue.get()) is not None:
            run.log({name: to_wandb(value, wandb) for name, value in row.items()})

    def _open(self, mode: Mode) -> Any:
        resolved = resolve_mode(mode)
        if resolved == "disabled":
            return None
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            run = self._init(resolved, self.run_id)
        except Exception as error:
            if resolved != "online":
                raise
            if self._thread is not None:
                _log.warning("W&B run %s could not be opened online and is written offline: %s", self.run_id, error)
            # Its service refuses to open an id again that it failed to open.
            run = self._init("offline", f"{self.run_id}{OFFLINE_SUFFIX}")
        run.define_metric(self._step_name, hidden=True)
        run.define_metric("*", step_metric=self._step_name)
        self.url = run.url
        return run

    def _init(self, mode: str, run_id: str) -> Any:
        wandb = importlib.import_module("wandb")
        wandb.setup(wandb.Settings(silent=True))
        settings = wandb.Settings(
            **self._names,
            **_PRIVACY,
            run_id=run_id,
            mode=mode,
            resume="allow",
            reinit="create_new",  # trials may follow each other in one process
            # Both leave `close` the time to write the local log, even if it comes while the run is being opened.
            init_timeout=min(self._init_timeout_s, 0.6 * self._finish_timeout_s),
            finish_timeout=max(self._finish_timeout_s - 2.0, 0.5 * self._finish_timeout_s),
        )
        return wandb.init(dir=str(self._directory), config=self._config, settings=settings)


_PRIVACY: dict[str, Any] = {
    "program": "gengap",  # instead of the path of the script
    "host": "",
    "disable_code": True,
    "save_code": False,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "console": "off",
    "silent": True,
}


def resolve_mode(mode: Mode) -> Literal["online", "offline", "disabled"]:
    """The mode that a run really has; see `WandbLogger`."""
    if mode == "auto":
        wish = os.environ.get("WANDB_MODE", "online")
        mode = wish if wish in ("offline", "disabled") else "auto"  # type: ignore[assignment]
    if mode in ("auto", "online"):
        if has_api_key():
            return "online"
        if mode == "online":
            _log.warning("W&B was asked to be online but no API key was found (`wandb login`); writing offline.")
        return "offline"
    return "disabled" if mode == "disabled" else "offline"


def has_api_key() -> bool:
    """Whether W&B would find credentials: environment variables, or the netrc file that ``wandb login`` writes."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        known = set(netrc.netrc(path).hosts)
    except (OSError, netrc.NetrcParseError):
        return False
    if address := os.environ.get("WANDB_BASE_URL"):
        return urlsplit(address).netloc in known
    default = importlib.import_module("wandb").Settings().base_url
    return bool(known & {_CLOUD_HOST, urlsplit(default).netloc})


def safe_run_id(run_id: str) -> str:
    """The same id with what W&B refuses replaced, and a digest in place of a long tail."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)
    if safe == run_id and len(safe) <= _MAX_ID_LENGTH:
        return safe
    digest = hashlib.blake2b(run_id.encode(), digest_size=4).hexdigest()
    return f"{safe[: _MAX_ID_LENGTH - 9]}-{digest}"


def without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without values under secret-like names and without values of secret-like environment variables."""
    secrets = [value for name, value in os.environ.items() if _is_secret(name) and len(value) >= 8]
    return {name: _cleaned(name, value, secrets) for name, value in config.items()}


def _cleaned(name: str, value: Any, secrets: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _cleaned(str(key), item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(name, item, secrets) for item in value]
    if isinstance(value, str) and (_is_secret(name) or any(secret in value for secret in secrets)):
        return REMOVED
    return value


def _is_secret(name: str) -> bool:
    words = re.split(r"[^a-z0-9]+", name.lower())
    return bool(_SECRET_WORDS.intersection(words) or _SECRET_PAIRS.search(name))
