"""Checks rendered manifests: `check.py FILE…` or `check.py --self-test FILE`.

The schemas are those of Kubernetes in kubernetes-validate, strictly: a member that does not exist is
an error. The rules are in rules.py. `--self-test` breaks FILE, which has to hold, in every way that a
rule is about, and fails unless the rule says so.
"""

import copy
import pathlib
import re
import sys

import kubernetes_validate
import yaml

import rules

# The oldest minor version that is supported, and the newest there are schemas of.
VERSIONS = ["1.31", "1.36"]


def known_settings():
    text = pathlib.Path(__file__).parents[2].joinpath("docs/configuration.md").read_text()
    return set(re.findall(r"`((?:MILLRACE|DATABASE|REDIS|OTEL)_[A-Z0-9_]+)`", text))


def schema_findings(documents):
    for document in documents:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = "/".join(str(part) for part in error.path)
                yield f"schema {version}", rules.name_of(document), f"/{place}: {error.message[:200]}"


def all_findings(documents):
    return [*schema_findings(documents), *rules.findings(documents, known_settings())]


def read(path):
    return [document for document in yaml.safe_load_all(open(path)) if document]


def check(paths):
    failed = False
    for path in paths:
        documents = read(path)
        found = all_findings(documents)
        for rule, where, what in found:
            print(f"k8s: {path}: {where}: {rule}: {what}")
        failed |= bool(found)
        if not found:
            print(f"k8s: {pathlib.Path(path).name}: {len(documents)} objects hold against {', '.join(VERSIONS)} and all rules")
    return 1 if failed else 0


def put(value, *path):
    """A change that sets the member at `path` of a document."""
    def change(document):
        for part in path[:-1]:
            document = document.setdefault(part, {}) if isinstance(document, dict) else document[part]
        if value is None:
            del document[path[-1]]
        else:
            document[path[-1]] = value
    return change


POD = ("spec", "template", "spec")
FIRST = (*POD, "containers", 0)
RUNTIME = "Deployment/millrace-runtime"

# Each rule, what it is broken at, and how.
BREAKS = [
    ("schema", RUNTIME, put(3, "spec", "replica")),
    ("schema", RUNTIME, put(None, *FIRST, "name")),
    ("schema", "Service/millrace-runtime", put("many", "spec", "ports", 0, "port")),
    ("host_namespaces", RUNTIME, put(True, *POD, "hostNetwork")),
    ("host_namespaces", RUNTIME, put(True, *POD, "hostPID")),
    ("host_process", RUNTIME, put(True, *POD, "securityContext", "windowsOptions", "hostProcess")),
    ("privileged", RUNTIME, put(True, *FIRST, "securityContext", "privileged")),
    ("capabilities", RUNTIME, put([], *FIRST, "securityContext", "capabilities", "drop")),
    ("capabilities", RUNTIME, put(["SYS_ADMIN"], *FIRST, "securityContext", "capabilities", "add")),
    ("volume_types", RUNTIME, put({"name": "x", "hostPath": {"path": "/"}}, *POD, "volumes", 0)),
    ("host_ports", RUNTIME, put(80, *FIRST, "ports", 0, "hostPort")),
    ("host_of_probes", RUNTIME, put("10.0.0.1", *FIRST, "livenessProbe", "httpGet", "host")),
    ("apparmor", RUNTIME, put("Unconfined", *POD, "securityContext", "appArmorProfile", "type")),
    ("selinux", RUNTIME, put("spc_t", *POD, "securityContext", "seLinuxOptions", "type")),
    ("proc_mount", RUNTIME, put("Unmasked", *FIRST, "securityContext", "procMount")),
    ("sysctls", RUNTIME, put([{"name": "kernel.msgmax", "value": "1"}], *POD, "securityContext", "sysctls")),
    ("privilege_escalation", RUNTIME, put(None, *FIRST, "securityContext", "allowPrivilegeEscalation")),
    ("non_root", RUNTIME, put(None, *POD, "securityContext", "runAsNonRoot")),
    ("root_user", RUNTIME, put(0, *FIRST, "securityContext", "runAsUser")),
    ("seccomp", RUNTIME, put(None, *POD, "securityContext", "seccompProfile")),
    ("seccomp", RUNTIME, put("Unconfined", *FIRST, "securityContext", "seccompProfile", "type")),
    ("read_only_root", RUNTIME, put(None, *FIRST, "securityContext", "readOnlyRootFilesystem")),
    ("no_token", RUNTIME, put(None, *POD, "automountServiceAccountToken")),
    ("resources", RUNTIME, put(None, *FIRST, "resources")),
    ("pinned_images", RUNTIME, put("millrace:latest", *FIRST, "image")),
    ("pinned_images", RUNTIME, put("registry.example.com:5000/millrace", *FIRST, "image")),
    ("admin_probes", RUNTIME, put("grpc", *FIRST, "readinessProbe", "httpGet", "port")),
    ("roles_are_guarded", "ConfigMap/millrace-", put("none", "data", "MILLRACE_AUTH__MODE")),
    ("roles_are_guarded", "Deployment/millrace-engine", put([], *FIRST, "env")),
    ("files_are_mounted", "ConfigMap/millrace-", put("/tls/ca.crt", "data", "MILLRACE_TLS__CA")),
    ("default_deny", "NetworkPolicy/millrace-default-deny", put(["Ingress"], "spec", "policyTypes")),
    ("services_lead_somewhere", "Service/millrace-engine", put({"a": "b"}, "spec", "selector")),
    ("services_lead_somewhere", "Service/millrace-engine", put("http", "spec", "ports", 0, "targetPort")),
    ("pods_have_policies", "NetworkPolicy/millrace-engine", put({"a": "b"}, "spec", "podSelector", "matchLabels")),
    ("grpc_is_headless", "Service/millrace-runtime", put(None, "spec", "clusterIP")),
    ("grace_is_longer", RUNTIME, put(30, *POD, "terminationGracePeriodSeconds")),
    ("namespaces_are_restricted", "Namespace/millrace", put({}, "metadata", "labels")),
    ("no_secrets_inside", "ConfigMap/millrace-", put("redis://a:b@c:1", "data", "REDIS_URL")),
    ("budgets", "PodDisruptionBudget/millrace-engine", put({"a": "b"}, "spec", "selector", "matchLabels")),
    ("settings_exist", "ConfigMap/millrace-", put("1", "data", "MILLRACE_GATEWAY__LISTENS")),
]


def self_test(path):
    good = read(path)
    missed = [f"{path} does not hold, so that nothing can be shown with it"] if all_findings(good) else []
    for number, (rule, where, change) in enumerate(BREAKS):
        broken = copy.deepcopy(good)
        place = next(d for d in broken if rules.name_of(d).startswith(where))
        change(place)
        # Of the schemas only those that are broken: they are what takes time.
        found = schema_findings([place]) if rule == "schema" else rules.findings(broken, known_settings())
        found = [found for found, _, _ in found]
        if not any(rule in name for name in found):
            missed.append(f"break {number} of {where} went unnoticed by {rule}: {found}")
    every = {rule.__name__ for rule in [*rules.POD_SECURITY, *rules.OF_PODS, *rules.OF_ALL]}
    tried = " ".join(rule for rule, _, _ in BREAKS)
    missed += [f"rule {name} is never broken" for name in every if not any(r in name for r in tried.split())]
    for line in missed:
        print(f"k8s: self-test: {line}")
    if not missed:
        print(f"k8s: self-test: {len(BREAKS)} broken manifests, each was noticed by its rule")
    return 1 if missed else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(self_test(arguments[1]) if arguments[:1] == ["--self-test"] else check(arguments))
