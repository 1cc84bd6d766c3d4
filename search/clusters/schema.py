"""What Ray itself and the clouds' own descriptions say about a cluster file, without any network."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import importlib.util
import io
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from search.clusters.files import ClusterFile

RAY_JOB_FIELDS = frozenset({
    "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint", "entrypointNumCpus",
    "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata", "rayClusterSpec", "runtimeEnvYAML",
    "shutdownAfterJobFinishes", "submissionMode", "submitterConfig", "submitterPodTemplate", "suspend",
    "ttlSecondsAfterFinished",
})  # fmt: skip
RAY_CLUSTER_FIELDS = frozenset({
    "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec",
    "headServiceAnnotations", "managedBy", "rayVersion", "suspend", "workerGroupSpecs",
})  # fmt: skip
GROUP_FIELDS = frozenset({"labels", "rayStartParams", "resources", "template"})
HEAD_FIELDS = GROUP_FIELDS | {"enableIngress", "headService", "serviceType"}
WORKER_FIELDS = GROUP_FIELDS | {
    "groupName", "idleTimeoutSeconds", "maxReplicas", "minReplicas", "numOfHosts", "replicas", "scaleStrategy",
    "suspend",
}  # fmt: skip
AUTOSCALER_FIELDS = frozenset({
    "env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources", "securityContext", "upscalingMode",
    "version", "volumeMounts",
})  # fmt: skip
AUTH_FIELDS = frozenset({"mode"})
"""The fields of the operator's version 1.5, by hand from its type definitions: no package brings its schema."""


def cloud_problems(file: ClusterFile) -> Iterator[str]:
    """What the cloud's own description of its API refuses, where its client library is installed."""
    check = {"aws": _aws_problems, "gcp": _gcp_problems}.get(file.provider)
    if check is not None:
        yield from check(file)


def ray_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Fill in the provider's defaults and validate, as `ray up` does first of all."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            validate_config(prepare_config(copy.deepcopy(dict(config))))
    except (Exception, SystemExit) as error:  # Ray's command line ends the process over some of them
        message = getattr(error, "message", "") or str(error) or said.getvalue()
        yield f"Ray refuses it: {' '.join(str(message).split())[:300]}"


def kuberay_problems(file: ClusterFile) -> Iterator[str]:
    """Field names of the operator, and what Ray's autoscaler makes of the groups."""
    for document in file.documents:
        if document.get("kind") in ("RayCluster", "RayJob") and document["apiVersion"] != "ray.io/v1":
            yield f"{document['kind']} has apiVersion {document['apiVersion']!r}; the operator serves ray.io/v1"
        if document.get("kind") == "RayJob":
            yield from _unknown("RayJob", document["spec"], RAY_JOB_FIELDS)
    spec = file.config
    yield from _unknown("RayCluster", spec, RAY_CLUSTER_FIELDS)
    yield from _unknown("authOptions", spec.get("authOptions", {}), AUTH_FIELDS)
    yield from _unknown("autoscalerOptions", spec.get("autoscalerOptions", {}), AUTOSCALER_FIELDS)
    yield from _unknown("headGroupSpec", spec["headGroupSpec"], HEAD_FIELDS)
    for group in spec["workerGroupSpecs"]:
        yield from _unknown(f"group {group['groupName']}", group, WORKER_FIELDS)
    yield from _derived_problems(spec)


def _unknown(place: str, found: Mapping[str, Any], allowed: frozenset[str]) -> Iterator[str]:
    for name in sorted(found.keys() - allowed):
        yield f"{place} has a field {name!r} that the operator does not know; it knows {', '.join(sorted(allowed))}"


def _derived_problems(spec: Mapping[str, Any]) -> Iterator[str]:
    """The head's autoscaler reads the same resource; what it derives is validated like a cluster file."""
    from ray.autoscaler._private.kuberay import autoscaling_config
    from ray.autoscaler._private.util import validate_config

    resource = {"metadata": {"name": "gengap", "namespace": "default"}, "spec": copy.deepcopy(dict(spec))}
    try:
        validate_config(autoscaling_config._derive_autoscaling_config_from_ray_cr(resource))
    except Exception as error:
        yield f"Ray's autoscaler refuses it: {getattr(error, 'message', '') or error}"


def _aws_problems(file: ClusterFile) -> Iterator[str]:
    """The call that starts a machine, checked against the API description that the AWS client brings."""
    if importlib.util.find_spec("botocore") is None:
        yield "node_config was not checked: `pip install boto3`, which `ray up` needs for AWS anyway"
        return
    types, call = _ec2()
    validator = importlib.import_module("botocore.validate").ParamValidator()
    for node in file.node_types:
        wanted = node.config.get("InstanceType")
        if wanted not in types:
            yield f"{node.name} is of the unknown instance type {wanted!r}"
        # Ray adds how many.
        report = validator.validate({**node.config, "MinCount": 1, "MaxCount": 1}, call)
        if report.has_errors():
            yield f"{node.name}: AWS refuses its node_config: {report.generate_report()}"


@functools.cache
def _ec2() -> tuple[frozenset[str], Any]:
    """Every instance type, and the shape of the call that starts machines."""
    model = importlib.import_module("botocore.session").get_session().get_service_model("ec2")
    return frozenset(model.shape_for("InstanceType").enum), model.operation_model("RunInstances").input_shape


def _gcp_problems(file: ClusterFile) -> Iterator[str]:
    """The description of an instance, checked against the API description that Google's client brings."""
    if importlib.util.find_spec("googleapiclient") is None:
        yield "node_config was not checked: `pip install google-api-python-client`, which `ray up` needs for GCP anyway"
        return
    schemas = _gcp_schemas()
    for node in file.node_types:
        for problem in _misfits(node.config, {"$ref": "Instance"}, schemas, "node_config"):
            yield f"{node.name}: {problem}"
    if file.config["provider"].get("project_id") in (None, "", "your-project-id"):
        yield "provider.project_id is still empty: write the id of your project"


@functools.cache
def _gcp_schemas() -> dict[str, Any]:
    """The types of Google's compute API, from the copy of its description that the client brings."""
    documents = resources.files("googleapiclient").joinpath("discovery_cache", "documents")
    schemas: dict[str, Any] = json.loads(documents.joinpath("compute.v1.json").read_text())["schemas"]
    return schemas


_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str, int), "integer": (int, str), "boolean": (bool,),
    "number": (int, float),
}  # fmt: skip


def _misfits(value: Any, wanted: Mapping[str, Any], schemas: Mapping[str, Any], place: str) -> Iterator[str]:
    """Where a value departs from a discovery document's schema: unknown fields, wrong types, words not listed."""
    schema = schemas[wanted["$ref"]] if "$ref" in wanted else wanted
    kind = schema.get("type", "any")
    if kind != "any" and not isinstance(value, _KINDS[kind]):
        yield f"{place} is {value!r}; GCP takes a value of type {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place} is {value!r}; GCP takes {', '.join(schema['enum'])}"
    if kind == "array":
        for index, item in enumerate(value):
            yield from _misfits(item, schema["items"], schemas, f"{place}[{index}]")
    for name, item in value.items() if "properties" in schema else ():
        if name not in schema["properties"]:
            yield f"{place} has a field {name!r} that GCP does not know"
        else:
            yield from _misfits(item, schema["properties"][name], schemas, f"{place}.{name}")
