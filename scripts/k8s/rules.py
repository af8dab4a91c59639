"""What has to hold for rendered manifests, beyond what their schemas say.

Each rule is a function from the list of documents to findings `(rule, object, what)`. The first part
is the Pod Security Standards, level restricted, as the cluster itself enforces them; the second is
what we want of our own manifests.
"""

import re

POD_KINDS = {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"}
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}
SECCOMP = {"RuntimeDefault", "Localhost"}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def name_of(document):
    return f"{document['kind']}/{document['metadata']['name']}"


def pods(documents):
    """`(object, pod specification, labels)` of all that makes pods."""
    for document in documents:
        if document["kind"] == "Pod":
            yield document, document["spec"], document["metadata"].get("labels", {})
        elif document["kind"] == "CronJob":
            template = document["spec"]["jobTemplate"]["spec"]["template"]
            yield document, template["spec"], template.get("metadata", {}).get("labels", {})
        elif document["kind"] in POD_KINDS:
            template = document["spec"]["template"]
            yield document, template["spec"], template.get("metadata", {}).get("labels", {})


def containers(spec):
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or []


# --- Pod Security Standards: baseline, and what restricted adds ------------------------------------

def host_namespaces(spec):
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is on"


def host_process(spec):
    for place in [spec, *containers(spec)]:
        if ((place.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess"):
            yield "hostProcess is on"


def privileged(spec):
    for container in containers(spec):
        if (container.get("securityContext") or {}).get("privileged"):
            yield f"{container['name']} is privileged"


def capabilities(spec):
    for container in containers(spec):
        wanted = (container.get("securityContext") or {}).get("capabilities") or {}
        if "ALL" not in (wanted.get("drop") or []):
            yield f"{container['name']} does not drop ALL"
        for added in wanted.get("add") or []:
            if added != "NET_BIND_SERVICE":
                yield f"{container['name']} adds {added}"


def volume_types(spec):
    for volume in spec.get("volumes") or []:
        for kind in set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is a {kind}"


def host_ports(spec):
    for container in containers(spec):
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                yield f"{container['name']} takes host port {port['hostPort']}"


def host_of_probes(spec):
    for container in containers(spec):
        handlers = [container.get(f"{kind}Probe") or {} for kind in ("startup", "readiness", "liveness")]
        handlers += (container.get("lifecycle") or {}).values()
        for handler in handlers:
            for kind in ("httpGet", "tcpSocket"):
                if (handler.get(kind) or {}).get("host"):
                    yield f"{container['name']} has a probe of another host"


def apparmor(spec):
    for place in [spec, *containers(spec)]:
        profile = (place.get("securityContext") or {}).get("appArmorProfile") or {}
        if profile.get("type", "RuntimeDefault") not in SECCOMP:
            yield f"appArmorProfile {profile['type']}"


def selinux(spec):
    for place in [spec, *containers(spec)]:
        options = (place.get("securityContext") or {}).get("seLinuxOptions") or {}
        if options.get("type", "") not in SELINUX_TYPES or options.get("user") or options.get("role"):
            yield "seLinuxOptions are not among those allowed"


def proc_mount(spec):
    for container in containers(spec):
        if (container.get("securityContext") or {}).get("procMount", "Default") != "Default":
            yield f"{container['name']} has its own procMount"


def sysctls(spec):
    for sysctl in (spec.get("securityContext") or {}).get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"


def privilege_escalation(spec):
    for container in containers(spec):
        if (container.get("securityContext") or {}).get("allowPrivilegeEscalation") is not False:
            yield f"{container['name']} may escalate privileges"


def non_root(spec):
    of_pod = spec.get("securityContext") or {}
    for container in containers(spec):
        of_container = container.get("securityContext") or {}
        if of_container.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
            yield f"{container['name']} may run as root"


def root_user(spec):
    for place in [spec, *containers(spec)]:
        if (place.get("securityContext") or {}).get("runAsUser") == 0:
            yield "runAsUser is 0"


def seccomp(spec):
    of_pod = ((spec.get("securityContext") or {}).get("seccompProfile") or {}).get("type")
    for container in containers(spec):
        own = ((container.get("securityContext") or {}).get("seccompProfile") or {}).get("type")
        if (own or of_pod) not in SECCOMP:
            yield f"{container['name']} has seccomp profile {own or of_pod}"


POD_SECURITY = [
    host_namespaces, host_process, privileged, capabilities, volume_types, host_ports, host_of_probes,
    apparmor, selinux, proc_mount, sysctls, privilege_escalation, non_root, root_user, seccomp,
]


# --- our own -----------------------------------------------------------------------------------------

def read_only_root(spec):
    for container in containers(spec):
        if (container.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']} may write to its image"


def no_token(spec):
    if spec.get("automountServiceAccountToken") is not False:
        yield "a token of the Kubernetes API is mounted"


def resources(spec):
    for container in containers(spec):
        wanted = container.get("resources") or {}
        for kind, what in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if what not in (wanted.get(kind) or {}):
                yield f"{container['name']} has no {what} in {kind}"


def pinned_images(spec):
    for container in containers(spec):
        if not re.search(r"(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})$", container["image"]):
            yield f"{container['name']} has image {container['image']}, which names no version"


OF_PODS = [read_only_root, no_token, resources, pinned_images]


def admin_probes(documents):
    """Roles are asked on their admin port, by all three probes."""
    for document, spec, labels in pods(documents):
        if labels.get("app.kubernetes.io/name") != "millrace" or document["kind"] == "Job":
            continue
        for container in spec["containers"]:
            for kind, path in (("startup", "/readyz"), ("readiness", "/readyz"), ("liveness", "/livez")):
                probe = (container.get(f"{kind}Probe") or {}).get("httpGet") or {}
                if (probe.get("path"), probe.get("port")) != (path, "admin"):
                    yield document, f"{container['name']} has no {kind} probe of {path} on port admin"


def roles_are_guarded(documents):
    """Callers need a key, and the roles prove themselves to each other."""
    config = config_of(documents)
    for document, spec, labels in pods(documents):
        if labels.get("app.kubernetes.io/name") != "millrace" or document["kind"] == "Job":
            continue
        if config.get("MILLRACE_AUTH__MODE") != "keys":
            yield document, "callers need no key"
        for container in spec["containers"]:
            env = {variable["name"]: variable for variable in container.get("env") or []}
            token = env.get("MILLRACE_AUTH__INTERNAL_TOKEN", {}).get("valueFrom", {})
            if "secretKeyRef" not in token and "MILLRACE_TLS__CA" not in config:
                yield document, f"{container['name']} cannot prove itself to the other roles"


def files_are_mounted(documents):
    """What the configuration names in /tls is there, for reading only."""
    named = [value for key, value in config_of(documents).items() if "_TLS__" in key]
    for document, spec, labels in pods(documents):
        if not named or labels.get("app.kubernetes.io/name") != "millrace" or document["kind"] == "Job":
            continue
        for container in spec["containers"]:
            places = [mount["mountPath"] for mount in container.get("volumeMounts") or [] if mount.get("readOnly")]
            for path in named:
                if not any(path.startswith(f"{place}/") for place in places):
                    yield document, f"{container['name']} has no {path}"


def default_deny(documents):
    for document in documents:
        if document["kind"] == "NetworkPolicy":
            spec = document["spec"]
            both = set(spec.get("policyTypes", [])) == {"Ingress", "Egress"}
            if both and spec.get("podSelector") == {} and not spec.get("ingress") and not spec.get("egress"):
                return
    yield documents[0], "no NetworkPolicy denies what no other one allows"


def selected(documents, selector, among=None):
    wanted = selector.items()
    return [labels for _, _, labels in pods(documents) if wanted <= labels.items()]


def services_lead_somewhere(documents):
    for document in documents:
        if document["kind"] == "Service":
            if not selected(documents, document["spec"].get("selector") or {"none": "none"}):
                yield document, "no pod fits its selector"
            for port in document["spec"]["ports"]:
                names = {
                    entry.get("name")
                    for _, spec, labels in pods(documents)
                    if document["spec"]["selector"].items() <= labels.items()
                    for container in spec["containers"]
                    for entry in container.get("ports") or []
                }
                if isinstance(port.get("targetPort"), str) and port["targetPort"] not in names:
                    yield document, f"no container has a port named {port['targetPort']}"


def pods_have_policies(documents):
    """Under default-deny, a pod that no other policy selects reaches nothing."""
    selectors = [
        document["spec"]["podSelector"].get("matchLabels") or {}
        for document in documents
        if document["kind"] == "NetworkPolicy" and document["spec"].get("podSelector")
    ]
    shared = {"app.kubernetes.io/part-of"}
    for document, _, labels in pods(documents):
        own = [s for s in selectors if s and set(s) - shared and s.items() <= labels.items()]
        if not own:
            yield document, "no NetworkPolicy is about its pods"


def grpc_is_headless(documents):
    for document in documents:
        if document["kind"] == "Service" and any(p.get("name") == "grpc" for p in document["spec"]["ports"]):
            if document["spec"].get("clusterIP") != "None":
                yield document, "gRPC behind one address: all calls go to one pod"


def config_of(documents):
    for document in documents:
        if document["kind"] == "ConfigMap" and document["metadata"]["name"].startswith("millrace-"):
            return document["data"]
    return {}


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


def grace_is_longer_than_the_drain(documents):
    config = config_of(documents)
    # Calls under way have 10 s, and what is left has 5 s: crates/millrace/src/role/process.rs.
    for role, key in (("gateway", "GATEWAY__STOP_DELAY"), ("runtime", "RUNTIME__DRAIN"), ("engine", "ENGINE__DRAIN")):
        needed = 10 + seconds(config.get(f"MILLRACE_{key}", "999s")) + 5
        for document, spec, labels in pods(documents):
            if labels.get("app.kubernetes.io/component") == role:
                if spec.get("terminationGracePeriodSeconds", 30) <= needed:
                    yield document, f"a stop may take {needed} s, and is cut off before"


def namespaces_are_restricted(documents):
    for document in documents:
        if document["kind"] == "Namespace":
            level = document["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
            if level != "restricted":
                yield document, f"enforces {level}"


def no_secrets_inside(documents):
    for document in documents:
        if document["kind"] == "Secret":
            yield document, "a Secret is among the manifests"
        for key, value in (document.get("data") or {}).items() if document["kind"] == "ConfigMap" else []:
            if re.search(r"PASSWORD|SEALING_KEY|_TOKEN", key) or re.search(r"://[^/\s:]+:[^/\s@]+@", value):
                yield document, f"{key} is a secret"


def budgets(documents):
    """What is scaled may lose one pod at a time to a node that is drained."""
    scaled = [d["spec"]["scaleTargetRef"]["name"] for d in documents if d["kind"] == "HorizontalPodAutoscaler"]
    guarded = [d["spec"]["selector"]["matchLabels"] for d in documents if d["kind"] == "PodDisruptionBudget"]
    for document, _, labels in pods(documents):
        if document["metadata"]["name"] in scaled and not any(g.items() <= labels.items() for g in guarded):
            yield document, "it is scaled and has no PodDisruptionBudget"


def settings_exist(documents, known):
    """`known`: the variables of docs/configuration.md, made from the code."""
    for document in documents:
        if document["kind"] == "ConfigMap" and document["metadata"]["name"].startswith("millrace-"):
            names = list(document["data"])
            for name in names:
                if name not in known:
                    yield document, f"there is no setting {name}"
    for document, spec, labels in pods(documents):
        if labels.get("app.kubernetes.io/name") == "millrace":
            for container in spec["containers"]:
                for variable in container.get("env") or []:
                    if variable["name"].startswith("MILLRACE_") and variable["name"] not in known:
                        yield document, f"there is no setting {variable['name']}"


OF_ALL = [
    admin_probes, roles_are_guarded, files_are_mounted, default_deny, services_lead_somewhere, pods_have_policies, grpc_is_headless,
    grace_is_longer_than_the_drain, namespaces_are_restricted, no_secrets_inside, budgets,
]


def findings(documents, known):
    """`(rule, object, what)` for all that does not hold."""
    for document, spec, _ in pods(documents):
        for rule in POD_SECURITY:
            for what in rule(spec):
                yield f"pod security: {rule.__name__}", name_of(document), what
        for rule in OF_PODS:
            for what in rule(spec):
                yield rule.__name__, name_of(document), what
    for rule in OF_ALL:
        for document, what in rule(documents):
            yield rule.__name__, name_of(document), what
    for document, what in settings_exist(documents, known):
        yield "settings_exist", name_of(document), what
