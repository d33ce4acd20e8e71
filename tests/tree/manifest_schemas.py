"""The fields of KubeRay's and KServe's objects that manifests use, as their CRDs publish them.

From ray.io_rayservices.yaml (v1) and serving.kserve.io_inferenceservices.yaml (v1beta1). Nothing
else is let through, so that a misspelt field is seen. ``POD`` and ``TEMPLATE`` stand where the CRDs
repeat Kubernetes' own PodSpec and PodTemplateSpec: these are checked as core objects.
"""

from __future__ import annotations

from typing import Any

__all__ = ["INFERENCE_SERVICE", "POD_FIELDS_OF_KSERVE", "RAY_SERVICE"]


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
_METADATA = _object(["name"], name=_NAME, labels=_TEXTS, annotations=_TEXTS)
_TEMPLATE = {"type": "object", "required": ["spec"]}

RAY_SERVICE = _object(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayService"},
    metadata=_METADATA,
    spec=_object(
        ["serveConfigV2", "rayClusterConfig"],
        serveConfigV2=_TEXT,
        rayClusterConfig=_object(
            ["headGroupSpec"],
            rayVersion=_TEXT,
            enableInTreeAutoscaling={"type": "boolean"},
            autoscalerOptions=_object(
                [],
                idleTimeoutSeconds=_COUNT,
                upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
                resources={"type": "object"},
                securityContext={"type": "object"},
            ),
            headGroupSpec=_object(
                ["rayStartParams", "template"],
                serviceType=_TEXT,
                rayStartParams=_TEXTS,
                template=_TEMPLATE,
            ),
            workerGroupSpecs={
                "type": "array",
                "items": _object(
                    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
                    groupName=_NAME,
                    replicas=_COUNT,
                    minReplicas=_COUNT,
                    maxReplicas=_COUNT,
                    numOfHosts=_COUNT,
                    rayStartParams=_TEXTS,
                    template=_TEMPLATE,
                ),
            },
        ),
    ),
)

#: What KServe's components have beside a PodSpec's fields, which stand among them.
_EXTENSION = {
    "minReplicas": _COUNT,
    "maxReplicas": _COUNT,
    "scaleTarget": _COUNT,
    "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]},
    "containerConcurrency": _COUNT,
    "timeout": _COUNT,
    "labels": _TEXTS,
    "annotations": _TEXTS,
}
POD_FIELDS_OF_KSERVE = (
    "automountServiceAccountToken",
    "containers",
    "securityContext",
    "terminationGracePeriodSeconds",
    "volumes",
)
_CONTAINER = {
    "type": "object",
    # KServe finds the container by its name.
    "properties": {"name": {"const": "kserve-container"}},
    "required": ["name", "image"],
}
_COMPONENT = _object(
    ["containers"],
    **_EXTENSION,
    **dict.fromkeys(POD_FIELDS_OF_KSERVE, True),
)
_COMPONENT["properties"]["containers"] = {"type": "array", "items": _CONTAINER, "maxItems": 1}

INFERENCE_SERVICE = _object(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "serving.kserve.io/v1beta1"},
    kind={"const": "InferenceService"},
    metadata=_METADATA,
    spec=_object(["predictor"], predictor=_COMPONENT, transformer=_COMPONENT),
)
