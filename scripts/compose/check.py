"""What can be said of the configuration of Prometheus, Grafana and the collector without their images:
it is well-formed, what is scraped is there, and every metric of the dashboard exists in the code.
"""

import json
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]


def findings():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    scraped = yaml.safe_load((ROOT / "compose/prometheus.yml").read_text())["scrape_configs"]
    for job in scraped:
        for target in (target for group in job["static_configs"] for target in group["targets"]):
            service, port = target.split(":")
            listens = (compose.get(service, {}).get("environment") or {}).values()
            if f"0.0.0.0:{port}" not in listens:
                yield f"prometheus.yml: no service listens on {target}"
    collector = yaml.safe_load((ROOT / "compose/collector.yaml").read_text())
    for name, pipeline in collector["service"]["pipelines"].items():
        for kind in ("receivers", "processors", "exporters"):
            for part in pipeline[kind]:
                if part not in collector[kind]:
                    yield f"collector.yaml: pipeline {name} has {kind} {part}, which there is none of"
    for path in (ROOT / "compose/grafana/provisioning").rglob("*.yaml"):
        if yaml.safe_load(path.read_text()).get("apiVersion") != 1:
            yield f"{path.name}: apiVersion is not 1"
    dashboard = json.loads((ROOT / "compose/grafana/dashboards/millrace.json").read_text())
    code = "\n".join(path.read_text() for path in ROOT.glob("crates/*/src/**/*.rs"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            for metric in re.findall(r"\b(?:millrace|process)_[a-z_]+", target["expr"]):
                name = re.sub(r"_(bucket|sum|count)$", "", metric)
                if name.startswith("millrace_") and f'"{name}"' not in code:
                    yield f"dashboard: {panel['title']}: there is no metric {metric}"


found = list(findings())
for finding in found:
    print(f"compose: {finding}")
sys.exit(1 if found else print("compose: the configuration of the observability profile holds together"))
