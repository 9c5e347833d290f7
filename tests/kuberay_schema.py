"""What KubeRay 1.7 takes for the fields that our files use, as a JSON schema.

Facts of its API reference (https://github.com/ray-project/kuberay, docs/reference/api.md) and of
Kubernetes' PodSpec. A field that is not named here is refused: it is misspelt, or has to be looked up.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITY: Schema = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|[KMGT]i?)?$"}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def record(required: str = "", **fields: Schema) -> Schema:
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


QUANTITIES: Schema = {"type": "object", "additionalProperties": QUANTITY, "minProperties": 1}
RESOURCES = record("requests limits", requests=QUANTITIES, limits=QUANTITIES)

CONTAINER = record(
    "name image resources volumeMounts",
    name=TEXT,
    image=TEXT,
    ports=array(record("containerPort name", containerPort=COUNT, name=TEXT)),
    resources=RESOURCES,
    volumeMounts=array(record("mountPath name", mountPath=TEXT, name=TEXT, readOnly=FLAG)),
)

VOLUME = record(
    "name",
    name=TEXT,
    persistentVolumeClaim=record("claimName", claimName=TEXT),
    emptyDir=record("medium sizeLimit", medium=one_of("Memory"), sizeLimit=QUANTITY),
    configMap=record("name", name=TEXT),
) | {"minProperties": 2, "maxProperties": 2}

_LABEL = record(
    "key operator",
    key=TEXT,
    operator=one_of("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
    values=array(TEXT),
)
_PREFERRED = record(
    "weight preference",
    weight={"type": "integer", "minimum": 1, "maximum": 100},
    preference=record("matchExpressions", matchExpressions=array(_LABEL)),
)
_TOLERATION = record(
    "key operator effect",
    key=TEXT,
    operator=one_of("Exists", "Equal"),
    effect=one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
)

# No restartPolicy: autoscaler v2 takes none but Never, which it sets itself.
POD = record(
    "containers volumes securityContext",
    containers=array(CONTAINER),
    volumes=array(VOLUME),
    securityContext=record(
        "runAsUser runAsNonRoot fsGroup", runAsUser=COUNT, runAsNonRoot=FLAG, fsGroup=COUNT
    ),
    terminationGracePeriodSeconds=COUNT,
    affinity=record(
        nodeAffinity=record(preferredDuringSchedulingIgnoredDuringExecution=array(_PREFERRED))
    ),
    tolerations=array(_TOLERATION),
)
TEMPLATE = record("spec", spec=POD)

CLUSTER_SPEC = record(
    "rayVersion authOptions headGroupSpec workerGroupSpecs",
    rayVersion=TEXT,
    # `enableK8sTokenAuth` is another mode, which RayJob refuses.
    authOptions=record("mode", mode=one_of("token", "disabled"), secretName=TEXT),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=record(
        "version",
        version=one_of("v1", "v2"),
        upscalingMode=one_of("Default", "Aggressive", "Conservative"),
        idleTimeoutSeconds=COUNT,
        resources=RESOURCES,
    ),
    headGroupSpec=record("rayStartParams template", rayStartParams=TEXTS, template=TEMPLATE),
    workerGroupSpecs=array(
        record(
            "groupName rayStartParams template",
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=TEMPLATE,
        )
    ),
)

JOB_SPEC = record(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    # SidecarMode takes no submitterConfig, so what uses it is of the other mode.
    submissionMode=one_of("K8sJobMode"),
    submitterConfig=record(backoffLimit=COUNT),
    runtimeEnvYAML=TEXT,
    backoffLimit=COUNT,
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    rayClusterSpec=CLUSTER_SPEC,
)


def _resource(version: str, kind: str, **fields: Schema) -> Schema:
    return record(
        " ".join(["apiVersion kind metadata", *fields]),
        apiVersion=one_of(version),
        kind=one_of(kind),
        metadata=record("name", name=TEXT),
        **fields,
    )


KINDS = {
    "RayJob": _resource("ray.io/v1", "RayJob", spec=JOB_SPEC),
    "RayCluster": _resource("ray.io/v1", "RayCluster", spec=CLUSTER_SPEC),
    "ConfigMap": _resource("v1", "ConfigMap", data=TEXTS),
}
