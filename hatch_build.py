"""Put a list of what the wheel bundles into it: a CycloneDX document among its metadata, after PEP 770."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "fastapi-events.cdx.json"


class SbomHook(BuildHookInterface[Any]):
    """Writes the list; what is bundled stands in `pyproject.toml`, beside this hook's name.

    The same source makes the same bytes: there is no time in it, and its number comes from the version.
    """

    _folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        self._folder = Path(tempfile.mkdtemp())
        path = self._folder / NAME
        path.write_text(json.dumps(self._document(), indent=2) + "\n")
        build_data["sbom_files"].append(str(path))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def _document(self) -> dict[str, Any]:
        core = self.metadata.core
        purl = f"pkg:pypi/{core.name}@{self.metadata.version}"
        bundled = [self._component(each) for each in self.config.get("bundled", [])]
        return {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, purl)}",
            "version": 1,
            "metadata": {
                "lifecycles": [{"phase": "build"}],
                "component": {
                    "type": "library", "bom-ref": purl, "name": core.name, "version": self.metadata.version,
                    "purl": purl, "licenses": [{"expression": core.license_expression}],
                },
            },
            "components": bundled,
            "dependencies": [{"ref": purl, "dependsOn": [each["bom-ref"] for each in bundled]}],
        }  # fmt: skip

    def _component(self, bundled: dict[str, str]) -> dict[str, Any]:
        """A file of somebody else: what it is, and the hash by which to know it."""
        content = (Path(self.root) / bundled["path"]).read_bytes()
        purl = f"pkg:npm/{bundled['name']}@{bundled['version']}"
        return {
            "type": "library", "bom-ref": purl, "name": bundled["name"], "version": bundled["version"],
            "purl": purl, "licenses": [{"expression": bundled["license"]}],
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}],
            "properties": [{"name": "path", "value": bundled["path"]}],
        }  # fmt: skip
