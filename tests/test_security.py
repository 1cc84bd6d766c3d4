"""Nothing from elsewhere runs code here, no key is written anywhere, and a local Ray is closed to other machines."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.one_machine import STUDY
from tests.trainers.helpers import record_grid

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("envs", "data", "metrics", "actors", "trainers", "search")
FILES = [*sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")), ROOT / "gengap.py"]
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
SAFE_PICKLE = "data/interop/safe_pickle.py"
"""The only file that may read a pickle: it lets nothing be called."""
RUNNERS = {"eval", "exec", "compile", "__import__", "execfile"}
CALLS = {
    ("torch", "jit"), ("yaml", "load"), ("yaml", "load_all"), ("yaml", "unsafe_load"),
    ("yaml", "full_load"), ("os", "system"), ("os", "popen"), ("pd", "read_pickle"), ("pandas", "read_pickle"),
    ("subprocess", "getoutput"), ("shutil", "unpack_archive"), ("pty", "spawn"),
}  # fmt: skip
METHODS = {"extractall", "extract"}
"""Of archives: they write where the archive says."""


def unsafe(tree: ast.AST, name: str) -> Iterator[str]:
    """Everything in a module that can run what a file says, or write where it says."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import | ast.ImportFrom) and name != SAFE_PICKLE:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{name}:{line} imports {module}" for module in modules if module.split(".")[0] in UNPICKLERS)
        if isinstance(node, ast.Call):
            yield from (f"{name}:{line} {problem}" for problem in unsafe_call(node))


def unsafe_call(node: ast.Call) -> Iterator[str]:
    keywords = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
    if isinstance(node.func, ast.Name) and node.func.id in RUNNERS:
        yield f"calls {node.func.id}"
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        if (owner, node.func.attr) in CALLS:
            yield f"calls {owner}.{node.func.attr}"
        if node.func.attr in METHODS:
            yield f"calls .{node.func.attr}, which writes where an archive says"
        if owner in ("np", "numpy") and node.func.attr == "load" and keywords.get("allow_pickle") is not False:
            yield "calls np.load without allow_pickle=False"
        if owner == "torch" and node.func.attr == "load" and keywords.get("weights_only") is not True:
            yield "calls torch.load without weights_only=True"
    for word, wrong in (("allow_pickle", True), ("shell", True), ("weights_only", False), ("trust_remote_code", True)):
        if keywords.get(word) is wrong:
            yield f"passes {word}={wrong}"


def test_no_module_can_run_what_a_file_says() -> None:
    found = [line for path in FILES for line in unsafe(ast.parse(path.read_text()), str(path.relative_to(ROOT)))]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from cloudpickle import loads", "torch.load(p)", "yaml.load(t)", "np.load(p)", "eval(text)",
        "np.load(p, allow_pickle=True)", "f.read_array(s, allow_pickle=True)", "archive.extractall(p)", "exec(text)",
        "subprocess.run(c, shell=True)", "torch.load(p, weights_only=False)", "load(p, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_the_search_for_them_finds_them(code: str) -> None:
    assert list(unsafe(ast.parse(code), "x.py"))


@pytest.mark.parametrize(
    "code",
    ["np.load(p, allow_pickle=False)", "torch.load(p, weights_only=True)", "network.eval()", "yaml.safe_load(t)"],
)
def test_what_is_harmless_is_left_alone(code: str) -> None:
    assert not list(unsafe(ast.parse(code), "x.py"))


SECRETS = {
    "WANDB_API_KEY": "5ec7e7" * 6 + "beef",
    "AWS_SECRET_ACCESS_KEY": "aws-" + "5ec7e7aa" * 4,
    "MY_SERVICE_TOKEN": "token-5ec7e7bb5ec7e7",
    "HARMLESS_SETTING": "harmless-5ec7e7cc",
}


def gengap(folder: Path, *words: str) -> str:
    """Run the command with secrets in its environment, all it writes inside `folder`; what it printed."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ, **SECRETS, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline", "HOME": str(home),
        "GENGAP_CACHE": str(folder / "cache"), "WANDB_CACHE_DIR": str(folder / "wandb-cache"),
        "WANDB_CONFIG_DIR": str(folder / "wandb-config"), "WANDB_DATA_DIR": str(folder / "wandb-data"),
        "RAY_TMPDIR": str(folder),
    }  # fmt: skip
    code = "import sys; from gengap import main; main(sys.argv[1:])"
    result = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, env=environment, text=True, capture_output=True, timeout=280
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout + result.stderr


def leaks(folder: Path) -> list[str]:
    """Files that hold a secret, or a variable of the environment that is nobody's business."""
    return [
        f"{path.relative_to(folder)}: {name}"
        for path in folder.rglob("*")
        if path.is_file()
        for name, secret in SECRETS.items()
        if secret.encode() in path.read_bytes()
    ]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="gg") as folder:
        yield Path(folder)


TRACKED = [
    "train.learner_steps=20", "train.evaluate_every=10", "train.batch_size=16", "evaluation.num_train_levels=2",
    "evaluation.num_validation_levels=2", "tracking.tensorboard=true",
]  # fmt: skip


def test_a_run_writes_no_key_and_no_environment(tmp_path: Path) -> None:
    record_grid(tmp_path / "data", levels=range(6))
    printed = gengap(tmp_path, "train", "grid-bc", f"data.datasets={tmp_path / 'data'}", *TRACKED, "--out", "run")
    names = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert {".wandb", ".jsonl", ".json", ".safetensors"} <= names, "everything was written"
    assert leaks(tmp_path) == []
    assert not [name for name, secret in SECRETS.items() if secret in printed]


@pytest.mark.slow
@pytest.mark.ray
def test_a_study_writes_no_key_and_no_environment_and_neither_does_ray(short_path: Path) -> None:
    printed = gengap(short_path, "sweep", "grid-diversity", *STUDY, "--out", "study")
    assert list(short_path.glob("study/report/*.html"))
    assert list(short_path.rglob("session_*/logs/*")), "what Ray writes is looked through too"
    assert leaks(short_path) == []
    assert not [name for name, secret in SECRETS.items() if secret in printed]


def test_tune_hands_no_key_of_a_cloud_to_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    from search.keys import CLOUD_KEYS, withhold_keys

    class Trial:
        pass

    def handed_on() -> set[str]:
        made: Any = class_cache._ActorClassCache().get(Trial)
        return set(made._default_options["runtime_env"]["env_vars"])

    for name in CLOUD_KEYS:
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", {*class_cache.ENV_VARS_TO_PROPAGATE, *CLOUD_KEYS})
    assert set(CLOUD_KEYS) <= handed_on(), "Ray has changed: is this still needed?"
    withhold_keys()
    assert not set(CLOUD_KEYS) & handed_on()


PROBE = """
import json, sys
import psutil
from actors.cluster import ray_session

def listening(process):
    try:
        return [c for c in process.net_connections("inet") if c.status == "LISTEN"]
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return []

with ray_session(num_cpus=1) as ray:
    ray.get(ray.remote(num_cpus=1)(lambda: 0).remote())
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = [c for process in processes for c in listening(process)]
    import requests
    from ray._private.worker import global_worker
    url = "http://" + global_worker.node.webui_url.removeprefix("http://")
    answers = {
        name: requests.get(url + "/api/jobs/", headers=headers, timeout=20).status_code
        for name, headers in (("none", {}), ("wrong", {"Authorization": "Bearer " + "0" * 32}))
    }
    print()
    print(json.dumps({"addresses": sorted({c.laddr.ip for c in sockets}), "count": len(sockets), "answers": answers}))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_local_ray_listens_on_loopback_only_and_asks_for_its_token(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    environment.pop("RAY_AUTH_MODE", None)
    result = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, text=True, capture_output=True, timeout=200, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr[-3000:]
    seen: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert seen["count"] > 3
    assert set(seen["addresses"]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert seen["answers"] == {"none": 401, "wrong": 403}
    assert os.stat(tmp_path / ".ray" / "auth_token").st_size > 20
