"""The cluster files pass every check, and every mistake that costs money or data is caught before anything starts."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from envs.errors import UsageError
from search.clusters.check import cluster_problems, describe
from search.clusters.files import read_cluster_file, started_resources
from search.clusters.rules import missing_here, project_parts
from tests.constraints import FILE as CONSTRAINTS
from tests.constraints import closure, direct_requirements, read_pins

ROOT = Path(__file__).resolve().parents[2]
AWS, GCP, LOCAL, POD, JOB = FILES = (
    "cluster.yaml",
    "deploy/gcp.yaml",
    "deploy/onprem.yaml",
    "deploy/kuberay.yaml",
    "deploy/kuberay-job.yaml",
)


@pytest.mark.parametrize("name", FILES)
def test_a_file_as_it_is_has_no_problem(name: str) -> None:
    expected = ["provider.project_id is still empty: write the id of your project"] if name == GCP else []
    assert cluster_problems(ROOT / name) == expected


MISTAKES: list[tuple[str, str, str, str]] = [
    # What Ray's schema and its defaults catch.
    (AWS, "\nmax_workers: 10", "\nmaximum_workers: 10", "Ray refuses it: .*maximum_workers"),
    (AWS, 'resources: {"CPU": 16, "env_actor": 16}', "resourcez: {}", "Ray refuses it: .*resource"),
    (AWS, '"env_actor": 16}', '"env_actor": 15.5}', "Ray refuses it: 15.5 is not of type 'integer'"),
    (AWS, "head_node_type: head", "head_node_type: heat", "Ray refuses it: .*head_node_type"),
    (AWS, "  container_name: gengap\n", "", "Ray refuses it: Must provide a container"),
    (AWS, "\nmax_workers: 10", "\nmax_workers: many", "Ray refuses it: 'many' is not of type 'integer'"),
    # What the clouds' own descriptions catch.
    (AWS, "InstanceType: g5.2xlarge", "InstanceType: g5.3xlarge", "gpu is of the unknown instance type 'g5.3xlarge'"),
    (AWS, "{HttpTokens: required}", "{HttpToken: required}", 'AWS refuses its node_config: .*"HttpToken"'),
    (AWS, "VolumeSize: 500", "VolumeSize: big", "AWS refuses its node_config: .*VolumeSize"),
    (GCP, "diskSizeGb: 500", "diskSizeGB: 500", "head: .*initializeParams has a field 'diskSizeGB'"),
    (GCP, "provisioningModel: SPOT, instance", "provisioningModel: SPOTTY, instance", "'SPOTTY'; GCP takes .*SPOT"),
    (GCP, "acceleratorCount: 1", "acceleratorCount: [1]", "gpu: .*acceleratorCount is .*integer"),
    (POD, "  authOptions:", "  authOption:", "field 'authOption' that the operator does not know"),
    (POD, "minReplicas: 0", "minReplicaz: 0", "lacks or misstates"),
    (JOB, "backoffLimit", "backofLimit", "RayJob has a field 'backofLimit'"),
    (POD, "apiVersion: ray.io/v1\n", "apiVersion: ray.io/v1alpha1\n", "the operator serves ray.io/v1"),
    # What nobody but us catches: versions, placement, limits that contradict each other.
    (AWS, "ray:2.60.0-py311", "ray:2.59.0-py311", "must hold Ray 2.60"),
    (AWS, "ray:2.60.0-py311", "ray:2.60.0-py39", "and Python 3"),
    (AWS, '{"CPU": 0, "train_driver": 8}', '{"CPU": 4, "train_driver": 8}', "the head offers 4 CPUs"),
    (AWS, '{"CPU": 0, "train_driver": 8}', '{"CPU": 0}', "the head offers no 'train_driver'"),
    (LOCAL, "--num-cpus=0 ", "", "the head offers all its CPUs"),
    (LOCAL, '{\\"env_actor\\": $slots}', '{\\"env_slot\\": $slots}', "no worker offers 'env_actor'"),
    (AWS, "InstanceType: m6i.xlarge\n", "InstanceType: m6i.xlarge\n      InstanceMarketOptions: {MarketType: spot}\n",
     "the head is a spot machine"),
    (AWS, ', "env_actor": 16}', "}", "no node type offers 'env_actor'"),
    (POD, 'env_actor: "16"', 'env_actor: "12"', r"cpu offers 12 'env_actor' and 16 CPUs"),
    (AWS, '{"CPU": 8, "GPU": 1}', '{"CPU": 8, "GPU": 1, "env_actor": 8}', "gpu offers 'env_actor' beside GPUs"),
    (AWS, '{"CPU": 8, "GPU": 1}', '{"CPU": 0, "GPU": 1}', "each learner needs at least one CPU"),
    (AWS, "min_workers: 0", "min_workers: -1", "they must be 0 <= min <= max"),
    (AWS, "min_workers: 0\n    max_workers: 6", "min_workers: 7\n    max_workers: 6", "cpu has 7 to 6 workers"),
    (AWS, "    max_workers: 6", "    max_workers: 60", "cpu may have 60 workers, but max_workers is 10"),
    (AWS, "\nmax_workers: 10", "\nmax_workers: 20", "but all types together allow 10"),
    # Security.
    (AWS, "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "must start Ray with --dashboard-host=127.0.0.1"),
    (POD, "serviceType: ClusterIP", "serviceType: LoadBalancer", "makes the dashboard public"),
    (AWS, "    - -e RAY_AUTH_MODE=token\n", "", "starts Ray without RAY_AUTH_MODE=token"),
    (LOCAL, "RAY_AUTH_MODE=token ", "", "starts Ray without RAY_AUTH_MODE=token"),
    (POD, "authOptions: {mode: token}", "authOptions: {mode: disabled}", "authOptions.mode is not token"),
    (AWS, "  /home/ray/.ray/auth_token: ~/.ray/auth_token\n", "", r"does not bring ~/\.ray/auth_token"),
    (AWS, "    - -e RAY_A", "    - -e WANDB_API_KEY=" + "0a" * 20 + "\n    - -e RAY_A", r"line \d+ looks like a W&B"),
    (AWS, "\nauth:", "\n# AKIA" + "A" * 16 + "\nauth:", r"line \d+ looks like an AWS key"),
    (LOCAL, "ssh_user: gengap", "ssh_user: gengap\n  # password: hunter2", "^$"),
    (POD, "dashboard-host: 0.0.0.0", "redis-password: hunter2", "looks like a password"),
    # What gets installed, and where results go.
    (AWS, " -e .", " ray", "does not install this project"),
    (AWS, "  /home/ray/gengap/metrics: metrics\n", "", "file_mounts lacks 'metrics'"),
    (AWS, "gengap/metrics: metrics", "gengap/metrics: .", "copies this whole folder"),
    (AWS, "    - -v /srv/gengap:/srv/gengap\n", "", "docker.run_options does not bring /srv/gengap"),
    (LOCAL, "test -w /srv/gengap", "echo fine", "no machine is given the shared folder"),
    (POD, "mountPath: /srv/gengap", "mountPath: /data", "head does not mount /srv/gengap"),
    (POD, '"count": 6', '"count": 7', "GENGAP_CAN_START must be"),
    # Own machines.
    (LOCAL, "[cpu-1.example.org, gpu", "[head.example.org, gpu", "a machine is listed twice"),
    (LOCAL, "\nmin_workers: 2", "\nmin_workers: 1", r"min_workers is not the number of worker_ips \(2\)"),
    (LOCAL, "bin/ray stop", "bin/ray stop --force", "ends every Ray on that machine"),
    # No cluster file at all.
    (AWS, "type: aws", "type: awz", "Unknown provider.type 'awz'. Did you mean 'aws'"),
    (AWS, "cluster_name: gengap\n", "cluster_name: [gengap\n", "is no YAML"),
    (POD, "kind: RayCluster", "kind: RayService", "holds 0 Ray clusters"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "right", "wrong", "said"), MISTAKES, ids=[said[:40] for *_, said in MISTAKES])
def test_a_mistake_is_caught(name: str, right: str, wrong: str, said: str, tmp_path: Path) -> None:
    text = (ROOT / name).read_text()
    assert right in text
    path = tmp_path / "cluster.yaml"
    path.write_text(text.replace(right, wrong))
    try:
        found = [problem for problem in cluster_problems(path) if "project_id is still" not in problem]
    except UsageError as error:
        found = [str(error)]
    assert found if said != "^$" else not found
    assert any(re.search(said, problem) for problem in found or [""]), found


def test_files_that_this_machine_lacks_are_named(tmp_path: Path) -> None:
    file = read_cluster_file(ROOT / LOCAL)
    missing = list(missing_here(file, tmp_path))
    assert len([line for line in missing if "another folder" in line]) >= len(project_parts())
    assert not [line for line in missing_here(file, ROOT) if line.startswith(tuple(project_parts()))]


def test_a_file_is_described_by_its_machines() -> None:
    assert describe(read_cluster_file(ROOT / AWS)) == (
        "1 x head (0 CPU, 8 train_driver); 0 to 6 x cpu (16 CPU, 16 env_actor, spot); 0 to 4 x gpu (8 CPU, 1 GPU, spot)"
    )
    assert started_resources("ray start --num-cpus 3 --resources='{\"a\": 1}'") == {"CPU": 3.0, "a": 1}


def mutated(value: Any, path: list[Any], change: Any) -> Any:
    """A copy of nested lists and dicts in which one entry is replaced, or taken out."""
    copied = copy.deepcopy(value)
    place = copied
    for key in path[:-1]:
        place = place[key]
    if change is None:
        del place[path[-1]]
    else:
        place[path[-1]] = change
    return copied


def paths_of(value: Any, before: tuple[Any, ...] = ()) -> list[list[Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in pairs for found in ([*before, key], *paths_of(item, (*before, key)))]


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(data=st.data(), change=st.sampled_from([None, 0, -1, "", "x", 1.5, [], {}, [None], {"x": []}, True]))
def test_any_other_file_is_answered_with_problems_and_nothing_else(data: st.DataObject, change: Any) -> None:
    document = list(yaml.safe_load_all((ROOT / data.draw(st.sampled_from(FILES))).read_text()))[-1]
    path = data.draw(st.sampled_from(paths_of(document)))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "cluster.yaml"
        place.write_text(json.dumps(mutated(document, path, change)))
        with contextlib.suppress(UsageError):
            assert all(isinstance(problem, str) for problem in cluster_problems(place))


def test_constraints_pin_all_that_is_installed_as_pyproject_allows_it() -> None:
    pins = read_pins(CONSTRAINTS.read_text())
    assert closure(direct_requirements()).keys() <= pins.keys()
    for requirement in direct_requirements():
        name = requirement.name.lower()
        assert requirement.specifier.contains(pins[name]), f"deploy/constraints.txt pins {name}=={pins[name]}"


def test_the_image_copies_what_the_project_is_made_of() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[2:-1]}
    assert project_parts() - {"deploy"} <= copied
    assert "deploy/constraints.txt" in copied
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert project_parts() == {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
