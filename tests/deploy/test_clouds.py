"""What the cluster files ask of a cloud, asked of stand-ins: an EC2 in this process, and the schemas of Kubernetes."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from moto import mock_aws

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = "1.33"


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """An empty AWS region."""
    variables = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-west-2",
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "HOME": str(tmp_path),  # Ray writes the private key that it makes into ~/.ssh
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        import boto3

        yield boto3.client("ec2")


def cluster_config() -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config

    config: dict[str, Any] = prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    return config


@pytest.mark.slow
def test_resources_are_those_of_the_instance_types(ec2: Any) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    config = cluster_config()
    detected = copy.deepcopy(config)
    for node in detected["available_node_types"].values():
        node["resources"] = {}
    found = AWSNodeProvider.fillout_available_node_types_resources(detected)["available_node_types"]
    for name in ("cpu", "gpu"):
        declared = config["available_node_types"][name]["resources"]
        assert {key: declared.get(key) for key in ("CPU", "GPU")} == {
            key: found[name]["resources"].get(key) for key in ("CPU", "GPU")
        }
    assert found["gpu"]["resources"]["accelerator_type:A10G"] == 1
    head = config["available_node_types"]["head"]
    described = ec2.describe_instance_types(InstanceTypes=[head["node_config"]["InstanceType"]])["InstanceTypes"][0]
    # A GB for each driver, and Ray's object store takes a third of the memory.
    assert head["resources"]["train_driver"] * 1000 <= described["MemoryInfo"]["SizeInMiB"] * 2 / 3


@pytest.mark.slow
def test_ray_up_starts_these_machines_and_opens_nothing_but_ssh(ec2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own bootstrap and node provider, against moto's EC2: keys, roles, subnets, groups, images, machines."""
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # for a new role to become known
    config = bootstrap_aws(cluster_config())
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, node in config["available_node_types"].items():
        provider.create_node(node["node_config"], {"ray-user-node-type": name, "ray-node-type": "worker"}, 1)
    machines = [each for found in ec2.describe_instances()["Reservations"] for each in found["Instances"]]
    kinds = sorted((machine["InstanceType"], machine.get("InstanceLifecycle", "")) for machine in machines)
    assert kinds == [("c6i.4xlarge", "spot"), ("g5.2xlarge", "spot"), ("m6i.xlarge", "")]
    groups = {group["GroupId"] for machine in machines for group in machine["SecurityGroups"]}
    rules = ec2.describe_security_groups(GroupIds=list(groups))["SecurityGroups"]
    public = [rule for group in rules for rule in group["IpPermissions"] if rule["IpRanges"]]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in public] == [(22, 22)]
    private = [rule for group in rules for rule in group["IpPermissions"] if rule["UserIdGroupPairs"]]
    assert {pair["GroupId"] for rule in private for pair in rule["UserIdGroupPairs"]} == groups


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    spec = document["spec"].get("rayClusterSpec", document["spec"])
    return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


@pytest.mark.parametrize("name", ["kuberay", "kuberay-job"])
def test_kubernetes_knows_every_field_of_the_pods_and_of_what_is_beside_them(name: str) -> None:
    checked = 0
    for document in yaml.safe_load_all((ROOT / "deploy" / f"{name}.yaml").read_text()):
        if document["apiVersion"] != "ray.io/v1":
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
            checked += 1
            continue
        for template in pods(document):
            resource = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
            kubernetes_validate.validate(resource, KUBERNETES, strict=True)
            checked += 1
    assert checked == (5 if name == "kuberay" else 3)
    template["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_a_job_brings_the_same_cluster_as_the_one_that_stays() -> None:
    cluster = list(yaml.safe_load_all((ROOT / "deploy" / "kuberay.yaml").read_text()))[-1]
    job = yaml.safe_load((ROOT / "deploy" / "kuberay-job.yaml").read_text())
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


def test_the_three_clouds_describe_the_same_kinds_of_machines() -> None:
    from search.clusters.files import read_cluster_file

    described = [
        {node.name: (dict(node.resources), node.minimum, node.maximum) for node in read_cluster_file(path).node_types}
        for path in (ROOT / "cluster.yaml", ROOT / "deploy" / "gcp.yaml", ROOT / "deploy" / "kuberay.yaml")
    ]
    assert described[0] == described[1] == described[2]
