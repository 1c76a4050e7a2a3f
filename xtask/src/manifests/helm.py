"""The parts of Helm that `cargo xtask` calls, through Helm's own library: lint and template, and YAML as JSON.

    helm.py lint CHART [VALUES...]                          findings, a line each; exit code 1 when there are any
    helm.py template CHART RELEASE NAMESPACE [VALUES...]    what `helm template` prints
    helm.py json FILE...                                    every document of the files, as one JSON list

What is wrong is said in one line on standard error, with exit code 1.
"""

import json
import sys
from pathlib import Path

import helm_python as helm
import yaml

# The order in which objects are created; kinds that are not named here come last.
ORDER = ["ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "Service", "DaemonSet"]
SEVERITIES = {0: "unknown", 2: "warning", 3: "error"}
SEPARATOR = "\n---\n"


def documents(text):
    """The YAML documents of a text that hold something."""
    return [document for document in yaml.safe_load_all(text) if document]


def merged(files):
    """The values of several files; later ones win, mapping by mapping, as with `helm --values`."""

    def over(below, above):
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return below | {key: over(below.get(key), value) for key, value in above.items()}

    values = {}
    for file in files:
        values = over(values, helm.values_from_yaml(Path(file).read_text()))
    return values


def lint(chart, *files):
    """Prints what Helm finds wrong with a chart; information is not wrong."""
    report = helm.lint(chart, merged(files), strict=True)
    found = [message for message in report["messages"] if message["severity"] in SEVERITIES]
    for message in found:
        print(f"{SEVERITIES[message['severity']]}: {message['path']}: {message['error']}")
    for error in report["errors"]:
        print(f"error: {error}")
    return 1 if found or report["errors"] else 0


def template(chart, release, namespace, *files):
    """Prints the objects of a chart, in the order in which they are to be created."""
    values = merged(files)
    with helm.Chart.load(chart) as loaded:
        loaded.validate_schema(loaded.merge_values(values))
        rendered = loaded.render(values, name=release, namespace=namespace)
    objects = []
    for path, text in rendered.items():
        if path.endswith("NOTES.txt"):
            continue
        for manifest in text.split(SEPARATOR):
            for document in documents(manifest):
                kind = document["kind"]
                place = ORDER.index(kind) if kind in ORDER else len(ORDER)
                objects.append((place, path, manifest.strip()))
    for _, path, manifest in sorted(objects):
        print(f"---\n# Source: {path}\n{manifest}")
    return 0


def as_json(*files):
    """Prints the documents of YAML files as one JSON list."""
    print(json.dumps([document for file in files for document in documents(Path(file).read_text())]))
    return 0


COMMANDS = {"lint": lint, "template": template, "json": as_json}


def main(command, *arguments):
    """Runs one command and gives its exit code."""
    try:
        return COMMANDS[command](*arguments)
    except (helm.HelmError, OSError, yaml.YAMLError) as error:
        print(f"{command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
