"""The software bill of materials: CycloneDX 1.6 as JSON, the same bytes for the same contents."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from typing import Any

from edge_sdk.artifact import Manifest
from edge_sdk.bundle.wheels import licence_name, metadata

# SPDX identifiers are told from free words by their form, as the wheels' metadata mixes both.
_EXPRESSION = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*")


def sbom(name: str, version: str, manifest: Manifest, wheels: dict[str, bytes]) -> bytes:
    """One application with a library for each wheel and the model. No time of day: it would differ
    from one run to the next."""
    root = f"bundle:{name}@{version}"
    libraries = [_library(file, data) for file, data in sorted(wheels.items())]
    model = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{manifest.sha256}",
        "name": manifest.name,
        "version": manifest.scheme,
        "hashes": [{"alg": "SHA-256", "content": manifest.sha256}],
    }
    components = [model, *libraries]
    refs = [str(c["bom-ref"]) for c in components]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, ' '.join([root, *refs]))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "bom-ref": root, "name": name, "version": version,
            },
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": sorted(refs)}],
    }  # fmt: skip
    return (json.dumps(document, indent=1) + "\n").encode()


def _library(file: str, data: bytes) -> dict[str, Any]:
    about = metadata(data)
    name = re.sub(r"[-_.]+", "-", str(about["Name"])).lower()
    version = str(about["Version"])
    digest = hashlib.sha256(data).hexdigest()
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"wheel:{digest}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "properties": [{"name": "edge-sdk:file", "value": f"wheels/{file}"}],
    }
    if licence := licence_name(about):
        spdx = about["License-Expression"] is not None and _EXPRESSION.fullmatch(licence)
        found["licenses"] = [{"expression": licence}] if spdx else [{"license": {"name": licence}}]
    return found
